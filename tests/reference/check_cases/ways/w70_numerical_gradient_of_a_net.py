# exit: 2
def eval_numerical_gradient_net(net, inputs, output, h=1e-5):
    for blob in inputs:
        for i in range(blob.diffs.size):
            kept = blob.vals.flat[i]
            blob.vals.flat[i] = kept + h
            net.forward(*inputs)
            up = output.vals.sum()
            blob.vals.flat[i] = kept - h
            net.forward(*inputs)
            blob.diffs.flat[i] = (up - output.vals.sum()) / (2 * h)
            blob.vals.flat[i] = kept
    return [b.diffs for b in inputs]
