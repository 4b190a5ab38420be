"""ATA and ATAPI devices: what they do with commands, whatever controller the commands come by.

A controller hands a device the registers of a command, gets back what is to be done
(``action``), and moves the data by programmed input and output or by DMA.  Nothing here knows of
ports, interrupts or guest memory.
"""
