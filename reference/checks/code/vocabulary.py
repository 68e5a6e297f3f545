"""The table of dialects: which words people use for which thing.

Names only propose a reading; whether it is one is found by trying it (`searching.py`).
"""

import re
from collections.abc import Iterable

FORWARD = frozenset(
    "forward fwd fprop feedforward feed call compute calculate function func fn f value loss cost "
    "pass prop propagate propagation predict apply activate activation eval evaluate run step "
    "naive fast vectorized vectorised np numpy layer impl do get".split()
)
"""Words of a forward's name that say nothing about what it computes."""

GRADIENT = frozenset(
    "backward backwards back bwd bprop backprop backpropagate backpropagation grad grads gradient "
    "gradients derivative derivatives deriv derivate derive der prime nabla jacobian jac diff "
    "differentiate slope slopes vjp pullback dx dw db dz da dfunc df delta deltas d".split()
)
"""Words that say that a name is a gradient's."""

FILLER = frozenset("the of to and with for wrt by in a an from s t my".split())

SECOND = frozenset("hessian hess hvp hvps hessp".split())
"""Words that say that a name is of second order."""

ORDINALS = frozenset("second 2nd d2 double twice".split())
"""The same beside a word of a gradient, or behind the name of a function: tanh_second."""

PARTS_OF_SECOND = frozenset(
    "diag diagonal trace inv inverse approx approximate approximation numerical numeric finite fd "
    "differences gauss newton fisher eig eigs eigen eigenvalues spectrum norm penalty check "
    "solve free".split()
)
"""What is made of second derivatives, or stands in their place: neither a Hessian nor a product."""

WEAK = frozenset("delta deltas d slope slopes diff step update dx dw db dz da".split())
"""Gradient words that other things have too: alone they do not make a name count as unchecked."""

COTANGENT_NAMES = frozenset(
    "dout douts dy da dz dh dl dloss dvalue dvalues d_out d_y d_values grad grads grad_output "
    "grad_outputs grad_out grad_y grad_in grad_z grad_a gradient gradients gradoutput output_grad "
    "output_gradient out_grad upstream upstream_grad upstream_gradient top_diff top_grad "
    "delta deltas error err g gy gout gz cotangent ct v_out seed dldy dldz dlda dldout de_dy dedy "
    "dl_dy dl_dz dl_da dl_dout dj_dy accum_grad error_signal backprop_grad next_grad "
    "incoming_gradient incoming incoming_grad dprev top d dnext dlast output_error eta_out "
    "grad_over_time dhs dys grad_output_ back_grad dout_ df dscores dlogits dprobs".split()
)

CACHES = frozenset(
    "cache caches cached saved ctx memory mem kept store tape context residuals res state "
    "intermediates saved_values linear_cache activation_cache storage history".split()
)

TARGET_NAMES = frozenset(
    "y t target targets label labels y_true ytrue truth true actual actuals expected onehot "
    "one_hot y_onehot t_onehot yhot y_hot classes gt ground_truth desired ytrain y_train y_batch "
    "yb d_true outputs_true real answer answers yt tt target_output desired_output y_one_hot "
    "targ targs targets_onehot label_onehot correct y_actual true_y true_labels training_output "
    "training_outputs output_true wanted want next_tokens reference reference_answers ref "
    "references true_class targets_true y_target y_targets labels_true".split()
)

LOSS_NAMES = frozenset(
    "loss cost l j e error err total data_loss nll objective total_loss mse "
    "total_cost losses ce obj train_loss lossval cost_value smooth_loss".split()
)

PREDICTION_NAMES = frozenset(
    "yhat y_hat y_pred ypred pred preds predicted prediction predictions output outputs out a o p "
    "probs prob probabilities scores logits a_out activation activations al estimate guess "
    "y_prediction softmax_output y_out result final_output".split()
)

DATA_NAMES = frozenset(
    "x xs inp inps input inputs data feature features input_data input_vector a_prev prev images "
    "image img xb x_batch x_train sample samples batch h_prev prev_h hprev q k v query key value "
    "values queries keys z net s scores logits a tensor arr array u xk sk signal".split()
)

RATES = frozenset(
    "lr learning_rate learningrate eta rate l_rate step_size alpha_lr epsilon_lr c lrate "
    "learn_rate nu".split()
)
"""What a step is multiplied with, where a backward updates the weights."""

REGULARISATION = frozenset(
    "reg lam lambd lambda lambda_ lmbda lamda l1 l2 l1_reg l2_reg reg_strength weight_decay "
    "regularization regularisation lambda_reg reg_lambda decay wd l1_lambda l2_lambda lambda_l1 "
    "lambda_l2 weight_regularizer_l1 weight_regularizer_l2 bias_regularizer_l1 "
    "bias_regularizer_l2".split()
)

FLAGS = frozenset(
    "training train is_training is_train train_mode trainable test mode_train".split()
)
KEEPS = re.compile(
    r"^(training|train|is_train(ing)?|train_mode|(save|keep|store|use|with|return)_?(cache|grads?|"
    r"gradients?|values?|inputs?|for_backward|states?)?|caching|cache|remember)$",
    re.I,
)
"""A switch of a forward, off by default, that makes it keep what its backward reads."""

BIASES = re.compile(
    r"^(b|bias|biases|beta|bs|b\d+|b_?[a-z]{1,2}\d*|bias_?\w*|b_\w+|.*_b\d*|.*bias)$", re.I
)
WEIGHTS = re.compile(
    r"^(w|weight|weights|kernel|kernels|theta|thetas|ws|u|v|wx|wh|filters?|w\d+|theta_?\d*|"
    r"weights?_?\w*|[tmkp]\d|w_?[a-z]{1,4}\d*|u_?[a-z]{1,2}\d*|syn_?\d|synapse_?\d|.*_w\d*|.*weights?\d*|"
    r".*kernel)$",
    re.I,
)

_PREFIX = re.compile(
    r"^(grad(ient)?s?_?(of_?|wrt_?|for_?)?|nablas?_?|delta_?s?_?|deltas_|derivative_?|deriv_?|"
    r"(dl|de|dj|dc|do|dloss|dcost)_?d_?|d_?l_d_?|d_?e_d_?|g_(?=\w)|d_?)(?=\w)",
    re.I,
)
_SUFFIX = re.compile(
    r"_?(grad(ient)?s?_?|deltas?|derivatives?|deriv|nabla|_diff)$|(?<=[a-z0-9])grads?$", re.I
)

SYNONYMS = {
    "w": "weight weights kernel filter filters theta ws wt".split(),
    "b": "bias biases bs beta".split(),
    "x": "input inputs inp data aprev prev features below xs in inputdata bottom prevlayer".split(),
    "hprev": "prevh h0 h htprev hidden".split(),
}
"""Without case and separators: plain(name)."""


def words(name: str) -> list[str]:
    """Return a name's words in lower case: reluBackward_2 -> relu, backward, 2."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [w for w in re.split(r"[_\W]+", split.lower()) if w]


def plain(name: str) -> str:
    """Return a name without case and separators: W_1 -> w1."""
    return re.sub(r"[\W_]+", "", name).lower()


def is_gradient_name(name: str) -> bool:
    """Whether a variable's name says that it is a gradient: dW, grad_x, W_grad, nabla_b, delta2."""
    return bool(gradient_of(name))


def says_gradient(name: str) -> bool:
    """Whether a variable's name says that it is a gradient, if not of what: dW, grad, delta."""
    return is_gradient_name(name) or name.strip("_").lower() in _PURE


def gradient_of(name: str) -> tuple[str, ...]:
    """Return what a variable named so could be the gradient of: dW1 -> W1; () where of nothing."""
    found: list[str] = []
    bare = name.strip("_")
    if bare.lower() in _PURE:
        return ()
    match = _PREFIX.match(bare)
    if match:
        rest = bare[match.end() :].strip("_")
        # `data`, `dim`, `dot`, `data_loss` begin with a d as well.
        single = match.group(0) in ("d", "D")
        if rest and not (single and {bare.lower(), *words(bare)[:1]} & _NO_GRADIENTS):
            found.append(rest)
    match = _SUFFIX.search(bare)
    if match and match.start() > 0:
        found.append(bare[: match.start()].strip("_"))
    return tuple(dict.fromkeys(f for f in found if f))


_PURE = frozenset(
    "grad grads gradient gradients delta deltas nabla nablas derivative derivatives "
    "deriv derive der".split()
)
_NO_GRADIENTS = frozenset(
    "data dim dims dot done dtype dict device depth dropout drop dense d1 d2 d3 decay diag "
    "distance diff denom denominator delta dilation dist den digits default desired div draw "
    "direction det dev do2 down domain days degree".split()
)


def same_thing(one: str, other: str) -> bool:
    """Whether two names mean one tensor: W and weights, b and bias."""
    a, b = plain(one), plain(other)
    return a == b or _root(a) == _root(b)


def _root(name: str) -> str:
    stem = name.rstrip("0123456789")
    number = name[len(stem) :]
    found = (root for root, others in SYNONYMS.items() if stem == root or stem in others)
    return next((root + number for root in found), name)


def stem_of(name: str) -> tuple[str, ...]:
    """Return a function's name without "forward" and "gradient": sigmoid_prime -> sigmoid."""
    kept = [w for w in words(name) if w not in GRADIENT and w not in FORWARD and w not in FILLER]
    found = []
    for word in kept:
        for affix in ("backward", "forward", "prime", "deriv", "grad"):
            if word.endswith(affix) and word != affix:
                word = word[: -len(affix)]
        found.append(word)
    return tuple(found)


def function_of(name: str) -> tuple[str, ...]:
    """Return the words of a name that are of no derivative: loss_hvp, grad_loss, loss -> loss."""
    fillers = {"vector", "vec", "product", "prod", "vp", "matrix", "fn"}
    left_out = GRADIENT | SECOND | ORDINALS | FILLER | (FORWARD - {"loss", "cost"}) | fillers
    bare = re.sub(r"^d2|^d(?=[a-z]{3})|prime$|primeprime$", "", name.lower())
    found = words(name if bare == name.lower() else bare)
    return tuple(w for w in found if w not in left_out)


def is_target(name: str) -> bool:
    """Whether a variable's name says that it holds targets: y, t, labels, one_hot_Y, y_train."""
    low = name.lower().strip("_")
    if low in TARGET_NAMES:
        return True
    found = words(name)
    if {"num", "n", "size", "count", "names"} & set(found):
        return False
    if "pred" in found or "hat" in found or ("output" in found and "desired" not in found):
        return False
    known = {"onehot", "target", "targets", "label", "labels", "truth", "true"}
    return bool(known & set(found)) or {"one", "hot"} <= set(found)


def targets_among(names: Iterable[str]) -> frozenset[str]:
    """Return which of some arguments are targets: of (y, t) it is t, of (x, y) it is y."""
    found = [n for n in names if is_target(n)]
    if len(found) > 1:
        found = [n for n in found if n.lower() != "y"] or found[1:]
    return frozenset(found)


def names_a_gradient(name: str, known: frozenset[str] = frozenset()) -> bool:
    """Whether a function's name says that it gives a gradient; `known` are the others' names.

    `dsigmoid`, `dtanh` and `df` count where the rest is another function of the file.
    """
    found = words(name)
    if any(w in GRADIENT for w in found):
        return True
    if any(w.endswith(("backward", "prime", "derivative", "backprop", "gradient")) for w in found):
        return True
    bare = name.lower().lstrip("_")
    others = {"d" + k.lower().lstrip("_") for k in known}
    return bare in others or bare.rstrip("_") in ("df", "dfdx")


def names_second_order(name: str, known: Iterable[str] = ()) -> bool:
    """Whether a function's name says that it gives second derivatives; `known` are other names.

    `hessian`, `loss_hvp`, `sigmoid_second_derivative`; `tanh_second`, `d2tanh` beside `tanh`.
    """
    found = words(name)
    if PARTS_OF_SECOND & set(found):
        return False
    if SECOND & set(found):
        return True
    rest = "".join(w for w in found if w not in ORDINALS)
    others = {plain(k) for k in known} - {plain(name)}
    bare_words = [w for w in found if w not in GRADIENT]
    if ORDINALS & set(bare_words) and "".join(bare_words) in others:
        return False  # double_backward, beside a function called double
    if len(rest) < len("".join(found)):
        return bool(GRADIENT & set(found)) or rest in others
    bare = plain(name)
    return bare.endswith("primeprime") or any(bare in ("d2" + o, "dd" + o) for o in others if o)


def strongly_a_gradient(name: str) -> bool:
    """Whether only a gradient has such a name: the result lists it when it stays unchecked."""
    found = [w for w in words(name) if w in GRADIENT and w not in WEAK]
    return bool(found) or any(
        w.endswith(("backward", "prime", "derivative", "backprop")) for w in words(name)
    )


def is_switch(name: str) -> bool:
    """Whether an argument chooses between value and derivative: sigmoid(x, deriv=True)."""
    return plain(name) in _SWITCHES


_SWITCHES = frozenset(
    "deriv derivative derivate prime grad backward derive isderivative der gradient diff isderiv "
    "usederivative".split()
)
