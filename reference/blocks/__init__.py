"""The certified values of whole blocks: what each tensor of an answer should be, given the rest.

`tapes` finds the tape of an operation, `gather` lays the tensors of many answers side by side,
`columns` and `sums` say what each should be, with the error of that and the rounding allowed.
"""
