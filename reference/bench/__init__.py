"""What a gradient costs: one training step by hand and by each framework, against one floor.

The floor of a shape is its own matrix products alone, through `np.matmul(out=)`: no step that
multiplies with NumPy's BLAS can be faster. Everything is timed interleaved in one process, so
ratios hold where times do not; a median and the middle half of the samples are reported.
"""
