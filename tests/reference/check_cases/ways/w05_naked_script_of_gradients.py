# exit: !0
# mistake: in dlogits the subtraction of 1 at the right class is missing: every gradient before it is wrong
# expect: not exit 0: a script with nothing but statements; its gradients are under dlogits, dW2, dh, ... and were compared with nothing, or found wrong
import torch
import torch.nn.functional as F

g = torch.Generator().manual_seed(2147483647)
n, n_in, n_hidden, classes = 8, 5, 6, 4
X = torch.randn((n, n_in), generator=g)
Y = torch.randint(0, classes, (n,), generator=g)
W1 = torch.randn((n_in, n_hidden), generator=g) * 0.5
b1 = torch.randn(n_hidden, generator=g) * 0.1
W2 = torch.randn((n_hidden, classes), generator=g) * 0.5
b2 = torch.randn(classes, generator=g) * 0.1

hpreact = X @ W1 + b1
h = torch.tanh(hpreact)
logits = h @ W2 + b2
loss = F.cross_entropy(logits, Y)

dlogits = F.softmax(logits, 1)
dlogits /= n
dh = dlogits @ W2.T
dW2 = h.T @ dlogits
db2 = dlogits.sum(0)
dhpreact = (1.0 - h ** 2) * dh
dW1 = X.T @ dhpreact
db1 = dhpreact.sum(0)
