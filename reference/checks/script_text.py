"""The fixed pieces of the script that shows a wrong gradient."""

HEAD = '''\
"""{name}: shows what is wrong with it. It needs {needs} and the file alone.

yours: what your code returns. right: {judge}.
"""

import {imports}

import numpy as np

{load}
# The smallest numbers that show it.
given = {{
{given}
}}
'''

TRACED = '''
def traced(function, *arguments, **options):
    """Call a function; return its result and its local variables."""
    code, inside = function.__code__, {}

    def look(frame, event, _):
        if event == "return" and frame.f_code is code:
            inside.update(frame.f_locals)

    sys.setprofile(look)
    try:
        return function(*arguments, **options), inside
    finally:
        sys.setprofile(None)

'''

SLOPES = '''
def slopes(holder, key, h=1e-6):
    """Return central differences of loss() by every entry of holder[key], a part of `given`."""
    kept = holder[key]
    found = np.zeros(np.shape(kept))
    for at in np.ndindex(found.shape):
        around = []
        for step in (h, -h):
            array = np.array(kept, dtype=float)
            array[at] += step
            holder[key] = array if array.shape else float(array)
            around.append(loss())
        found[at] = (around[0] - around[1]) / (2 * h)
    holder[key] = kept
    return found

'''

LOSS_CODE = {
    "half the squared error": "0.5 * np.sum(({a} - {t}) ** 2)",
    "binary cross-entropy": "-np.sum({t} * np.log({a}) + (1 - {t}) * np.log(1 - {a}))",
    "cross-entropy": "-np.sum({t} * np.log({a}))",
    "softmax cross-entropy": "np.sum(np.log(np.sum(np.exp({a}), axis=-1))) - np.sum({t} * {a})",
    (
        "softmax cross-entropy over columns"
    ): "np.sum(np.log(np.sum(np.exp({a}), axis=0))) - np.sum({t} * {a})",
}

SHOW = """for name in right:
    print(name)
    print("  yours:", np.array2string(np.asarray(yours[name]), prefix="  yours: "))
    print("  right:", np.array2string(right[name], prefix="  right: "))
    if name in differences:
        shown = np.array2string(differences[name], prefix="  central differences: ")
        print("  central differences:", shown)
"""


def function_text(name: str, text: str, lines: list[str]) -> str:
    """Return a function without arguments: its name, docstring and lines."""
    body = "\n".join(f"    {line}" for line in lines)
    return f'\ndef {name}():\n    """{text}"""\n{body}\n\n'
