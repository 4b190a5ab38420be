"""All plans, by how often they are wanted."""

from __future__ import annotations

from tests.tpm.differential import making, using
from tests.tpm.differential.author import Story

STORIES: list[Story] = [
    (60, using.any_command),
    (6, making.create_primary),
    (10, making.create),
    (3, making.load),
    (16, making.load_external),
    (8, making.import_known),
    (8, making.create_loaded),
    (3, making.change_auth),
    (3, making.certify_creation),
    (6, making.duplicate),
    (4, making.credential),
    (8, making.save),
    (8, making.restore),
    (4, making.evict),
    (4, making.flush),
    (12, using.session),
    (10, using.policy),
    (5, using.signed),
    (5, using.secret),
    (4, using.authorize),
    (8, using.sign),
    (4, using.encrypt),
    (5, using.exchange),
    (4, using.commit),
    (8, using.sequence),
    (3, using.complete),
    (10, using.define),
    (4, using.undefine),
    (16, using.write),
    (2, using.change_index_auth),
    (5, using.change_hierarchy),
    (1, using.change_pcr_auth),
    (2, using.control),
    (2, using.clear),
    (4, using.restart),
    (1, using.allocate),
    (3, using.unlock),
    (1, using.look),
]
ENDING: Story = (1, using.look)
