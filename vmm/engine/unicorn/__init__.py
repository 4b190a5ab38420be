"""The software engine: Unicorn's translator as a whole PC processor.

Unicorn's public interface runs instructions; it does not deliver exceptions to the guest's own
handlers, has no interrupt pin, and keeps stale code where a guest writes it through another
mapping.  Everything for that is inside the library, exported but not part of its interface.
``wheel.py`` alone knows where, for one build of the library, and checks that it got that build;
``thunks.py`` holds the few hundred bytes of machine code that tie it together, as assembly text;
``engine.py`` is the engine.
"""
