"""Guest images: where they are kept, how they are made, and the systems that run them.

``guests/`` holds guests of our own, assembled from source; ``recipes/`` makes images of other
people's systems from the distribution's packages; ``systems/`` holds system descriptions.  What is
made goes into the user's cache folder, never into the repository.  Nothing here runs a guest, and
nothing here imports the rest of Cloister.
"""
