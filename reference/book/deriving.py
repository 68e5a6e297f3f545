def derive(operation, docstring):
    return ()
