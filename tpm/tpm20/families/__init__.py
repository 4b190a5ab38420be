"""The commands' functions, a file a family.

The row of the table (`tpm.tpm20.table`) gives a function its arguments: the engine, the handles and
the parameters, unmarshalled and in the row's order. It returns the values of the row's response in
order, the response handle first, or None. It checks everything before it changes anything, and
raises `TpmError` for what it finds.
"""
