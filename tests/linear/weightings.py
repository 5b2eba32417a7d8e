"""Small networks of products, statistics, maxima and recurrence, each with a linear twin written by hand.

A case is what a network does to its input ``(N, 6, 4, 4)``, and what is left of it; both feed a fully connected layer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = (6, 4, 4)
Step = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    name: str
    network: Step
    twin: Step
    layers: dict[str, Callable[[], nn.Module]] = field(default_factory=dict)


def _tokens(x: Tensor) -> Tensor:
    """``(N, 16, 6)``."""
    return x.flatten(2).transpose(1, 2)


def _mean_token(x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True).expand_as(x)


QKV = {"qkv": lambda: nn.Linear(6, 18)}
CONV = {"conv": lambda: nn.Conv2d(6, 6, 3, padding=1)}


def _relu_attention(m: nn.Module, x: Tensor) -> Tensor:
    q, k, v = m.qkv(_tokens(x)).chunk(3, -1)
    q, k, v = F.relu(q), F.relu(k), F.pad(v, (0, 1), value=1.0)
    out = q @ (k.transpose(1, 2) @ v)
    return out[..., :-1] / (out[..., -1:] + 1e-12)


def _factorized_attention(m: nn.Module, x: Tensor) -> Tensor:
    """Attention of channels and a position encoding that multiplies queries, as in CoaT."""
    q, k, v = m.qkv(_tokens(x)).chunk(3, -1)
    position = m.conv(v.transpose(1, 2).reshape(-1, 6, 4, 4)).flatten(2).transpose(1, 2)
    return 0.7 * (q @ (k.softmax(1).transpose(1, 2) @ v)) + q * position


def _factorized_attention_twin(m: nn.Module, x: Tensor) -> Tensor:
    v = F.linear(_tokens(x), m.qkv.weight[12:], m.qkv.bias[12:])
    position = F.conv2d(v.transpose(1, 2).reshape(-1, 6, 4, 4), m.conv.weight, m.conv.bias, padding=1)
    return 0.7 * _mean_token(v) + position.flatten(2).transpose(1, 2)


def _context_vector(m: nn.Module, x: Tensor) -> Tensor:
    """The separable attention of MobileViTv2."""
    q, k, v = m.qkv(_tokens(x)).split([1, 6, 11], -1)
    context = (q.softmax(1) * k).sum(1, keepdim=True)
    return F.relu(v[..., :6]) * context.expand(-1, 16, -1)


def _focal_modulation(m: nn.Module, x: Tensor) -> Tensor:
    q, context, gates = m.f(x).split([6, 6, 2], 1)
    context = F.gelu(m.conv(context))
    everything = context * gates[:, :1]
    everything = everything + F.gelu(context.mean((2, 3), keepdim=True)) * gates[:, 1:]
    return q * m.h(everything)


def _focal_modulation_twin(m: nn.Module, x: Tensor) -> Tensor:
    context = F.conv2d(F.conv2d(x, m.f.weight[6:12], m.f.bias[6:12]), m.conv.weight, m.conv.bias, padding=1)
    return F.conv2d(context + context.mean((2, 3), keepdim=True), m.h.weight, m.h.bias)


def _spatial_gate(m: nn.Module, x: Tensor) -> Tensor:
    u, v = F.gelu(m.up(_tokens(x))).chunk(2, -1)
    return u * m.mix(F.layer_norm(v, (3,)).transpose(1, 2)).transpose(1, 2)


def _lambda_layer(m: nn.Module, x: Tensor) -> Tensor:
    q, k, v = m.qkv(_tokens(x)).chunk(3, -1)
    position = m.position(v.reshape(-1, 1, 4, 4, 6)).flatten(2, 3)  # (N, 3, 16, 6)
    return q[..., :3] @ (k[..., :3].softmax(1).transpose(1, 2) @ v) + (
        q[..., :3].unsqueeze(-2) @ position.permute(0, 2, 1, 3)
    ).squeeze(-2)


def _lambda_layer_twin(m: nn.Module, x: Tensor) -> Tensor:
    v = F.linear(_tokens(x), m.qkv.weight[12:], m.qkv.bias[12:])
    grid = v.reshape(-1, 1, 4, 4, 6)
    return _mean_token(v) + F.conv3d(grid, m.position.weight, m.position.bias, padding=(1, 1, 0)).mean(1).flatten(1, 2)


def _signed_power(m: nn.Module, x: Tensor) -> Tensor:
    y = m.conv(x)
    return y.abs() ** 1.5 * y.sign()


def _layer_norm_by_hand(_: nn.Module, x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    return (x - mean) / torch.sqrt((x - mean).pow(2).mean(1, keepdim=True) + 1e-6)


def _response_norm(m: nn.Module, x: Tensor) -> Tensor:
    size = x.norm(p=2, dim=(2, 3), keepdim=True)
    return x + torch.addcmul(
        m.scale.bias.view(-1, 1, 1), m.scale.weight.view(-1, 1, 1), x * (size / size.mean(1, True))
    )


def _evo_norm(m: nn.Module, x: Tensor) -> Tensor:
    batch = m.scale.running_var.add(1e-5).sqrt().view(-1, 1, 1)
    instance = x.float().var(dim=(2, 3), unbiased=False, keepdim=True).add(1e-5).sqrt().to(x.dtype).expand(x.shape)
    return x / batch.max(x * m.scale.weight.view(-1, 1, 1) + instance)


def _shares(module: nn.Module, x: Tensor, h: Tensor, layer: str, gate: int) -> Tensor:
    """``W x + b + U h + b'`` of one gate of a recurrent module, by its parameters' names."""
    part = slice(6 * gate, 6 * gate + 6)
    weights = [getattr(module, f"{kind}_{layer}")[part] for kind in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
    return x @ weights[0].T + weights[1] + h @ weights[2].T + weights[3]


def _unrolled(update: Callable[[nn.Module, Tensor, Tensor, str], Tensor]) -> Step:
    """Two layers in both directions over 16 tokens."""

    def twin(m: nn.Module, x: Tensor) -> Tensor:
        sequence = _tokens(x)
        for layer in range(2):
            sides = []
            for suffix in ("", "_reverse"):
                h, seen = torch.zeros_like(sequence[:, 0, :6]), []
                for t in range(16) if not suffix else reversed(range(16)):
                    h = update(m.rnn, sequence[:, t], h, f"l{layer}{suffix}")
                    seen.append(h)
                sides.append(torch.stack(seen[::-1] if suffix else seen, 1))
            sequence = torch.cat(sides, -1)
        return sequence

    return twin


def _rnn(kind: type[nn.RNNBase]) -> dict[str, Callable[[], nn.Module]]:
    return {"rnn": lambda: kind(6, 6, 2, batch_first=True, bidirectional=True)}


def _cell(m: nn.Module, x: Tensor) -> Tensor:
    """The candidate's share of an LSTM's or GRU's cell: the third of the stacked gates."""
    pooled = x.mean((2, 3))
    part = slice(12, 18)
    into = pooled @ m.cell.weight_ih[part].T + m.cell.bias_ih[part]
    return into + m.state(pooled) @ m.cell.weight_hh[part].T + m.cell.bias_hh[part]


def _experts(m: nn.Module, x: Tensor) -> Tensor:
    w = m.route(x.mean((2, 3))).softmax(1)[:, :, None, None, None]
    return w[:, 0] * m.a(x) + w[:, 1] * m.b(x)


def _shares_changed(m: nn.Module, x: Tensor) -> Tensor:
    """What a softmax made is that no longer once something was added in place: the left factor is the query again."""
    w = m.scores(x.flatten(1)).softmax(1)
    w += m.scores(x.flatten(1))
    return w * m.values(x.flatten(1))


def _softmax_by_hand(_: nn.Module, x: Tensor) -> Tensor:
    tokens = _tokens(x)
    scores = (tokens @ tokens.transpose(1, 2)).exp()
    return scores / scores.sum(-1, keepdim=True) @ tokens


def _plus_itself(x: Tensor, copy: Tensor) -> Tensor:
    copy += x
    return x + copy


def _relu_by_assignment(m: nn.Module, x: Tensor) -> Tensor:
    y = m.conv(x)
    y[y < 0] = 0
    return y


def _swin_mask(_: nn.Module, x: Tensor) -> Tensor:
    tokens = _tokens(x)
    apart = torch.arange(16) // 8
    mask = torch.zeros(16, 16).masked_fill(apart[:, None] != apart, -100.0)
    return (tokens @ tokens.transpose(1, 2) + mask).softmax(-1) @ tokens


def _relative_positions(m: nn.Module, x: Tensor) -> Tensor:
    """Scores that depend on the queries are added to others: they forbid nothing, however far below."""
    tokens = _tokens(x)
    return F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=1000 * m.scores(tokens))


def _ensemble(m: nn.Module, x: Tensor) -> Tensor:
    return torch.log(0.25 * m.one(x.flatten(1)).softmax(1) + 0.75 * F.softmax(m.two(x.flatten(1)), dim=-1))


TWO = {"one": lambda: nn.Linear(96, 7), "two": lambda: nn.Linear(96, 7)}
CELL = {"state": lambda: nn.Linear(6, 6)}
SCALE = {"scale": lambda: nn.BatchNorm2d(6)}
HEADS = ("bnc,bmc->bnm", "bnm,bmc->bnc")

CASES = (
    Case("relu_attention", _relu_attention, lambda m, x: _mean_token(m.qkv(_tokens(x))[..., 12:]), QKV),
    Case("factorized_attention", _factorized_attention, _factorized_attention_twin, QKV | CONV),
    Case("context_vector", _context_vector, lambda m, x: m.qkv(_tokens(x))[..., 7:13], QKV),
    Case(
        "focal_modulation", _focal_modulation, _focal_modulation_twin,
        CONV | {"f": lambda: nn.Conv2d(6, 14, 1), "h": lambda: nn.Conv2d(6, 6, 1)},
    ),
    Case(
        "spatial_gate", _spatial_gate, lambda m, x: m.mix(m.up(_tokens(x))[..., 3:].transpose(1, 2)).transpose(1, 2),
        {"up": lambda: nn.Linear(6, 6), "mix": lambda: nn.Linear(16, 16)},
    ),
    Case(
        "lambda", _lambda_layer, _lambda_layer_twin,
        QKV | {"position": lambda: nn.Conv3d(1, 3, (3, 3, 1), padding=(1, 1, 0))},
    ),
    Case("swiglu", lambda m, x: F.silu(m.conv(x)) * m.other(x), lambda m, x: m.other(x),
         CONV | {"other": lambda: nn.Conv2d(6, 6, 1)}),
    Case("geglu_on_the_right", lambda m, x: m.other(x) * F.gelu(m.conv(x)), lambda m, x: m.other(x),
         CONV | {"other": lambda: nn.Conv2d(6, 6, 1)}),
    Case("channel_gate", lambda m, x: x * m.fc(x.mean((2, 3), keepdim=True)).tanh(), lambda _, x: x,
         {"fc": lambda: nn.Conv2d(6, 6, 1)}),
    Case("star_relu", lambda m, x: 0.9 * F.relu(m.conv(x)) ** 2 - 0.4, lambda m, x: 0.9 * m.conv(x) - 0.4, CONV),
    Case("square", lambda m, x: m.conv(x).square() + x * x, lambda m, x: m.conv(x) + x, CONV),
    Case("signed_power", _signed_power, lambda m, x: m.conv(x), CONV),
    Case("threshold", lambda m, x: torch.where((m.conv(x) - 0.1).abs() < 0.2, torch.ones_like(x), x), lambda _, x: x,
         CONV),
    Case("relu_by_mask", lambda _, x: x * (x > 0) + (x > 0).float() * x, lambda _, x: 2 * x),
    Case("relu_by_filling", lambda _, x: x.masked_fill(x < 0, 0.0), lambda _, x: x),
    Case("gelu_by_hand", lambda _, x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))), lambda _, x: x),
    Case("layer_norm_by_hand", _layer_norm_by_hand, lambda _, x: (x - x.mean(1, keepdim=True))),
    Case("rms_norm_by_hand", lambda _, x: x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6), lambda _, x: x),
    Case("response_norm", _response_norm, lambda m, x: x + m.scale.bias.view(-1, 1, 1)
         + m.scale.weight.view(-1, 1, 1) * x, SCALE),
    Case("evo_norm", _evo_norm, lambda _, x: x, SCALE),
    Case("normalized_features", lambda _, x: F.normalize(x.flatten(1)), lambda _, x: x),
    Case("each_image_by_itself", lambda _, x: (x - x.mean((1, 2, 3), True)) / x.std((1, 2, 3), keepdim=True),
         lambda _, x: x - x.mean((1, 2, 3), True)),
    Case("share", lambda _, x: x / x.sum((2, 3), keepdim=True), lambda _, x: x),
    Case("max_over_tokens", lambda _, x: _tokens(x).max(1)[0], lambda _, x: _tokens(x).mean(1)),
    Case("topk", lambda _, x: _tokens(x).topk(5, dim=1).values.cumsum(1), lambda _, x: _tokens(x).mean(1, True)
         * torch.arange(1, 6).view(-1, 1)),
    Case("max_of_two", lambda m, x: torch.maximum(m.conv(x), x) + torch.max(x, torch.zeros(1, dtype=x.dtype)),
         lambda m, x: (m.conv(x) + x) / 2 + x, CONV),
    Case("amax", lambda _, x: x.amax((2, 3)) + torch.logsumexp(x, (2, 3)), lambda _, x: 2 * x.mean((2, 3))),
    Case("lstm", lambda m, x: m.rnn(_tokens(x))[0],
         _unrolled(lambda m, x, c, layer: c + _shares(m, x, c, layer, 2)), _rnn(nn.LSTM)),
    Case("gru", lambda m, x: m.rnn(_tokens(x))[0],
         _unrolled(lambda m, x, h, layer: (h + _shares(m, x, h, layer, 2)) / 2), _rnn(nn.GRU)),
    Case("rnn", lambda m, x: m.rnn(_tokens(x))[0], _unrolled(lambda m, x, h, layer: _shares(m, x, h, layer, 0)),
         _rnn(nn.RNN)),
    Case("last_state", lambda m, x: m.rnn(_tokens(x))[1][0].sum(0),
         lambda m, x: _last_states(m, x), _rnn(nn.LSTM)),
    Case("swin_mask", _swin_mask, lambda _, x: torch.cat([_mean_token(_tokens(x)[:, :8]),
         _mean_token(_tokens(x)[:, 8:])], 1)),
    Case("relative_positions", _relative_positions, lambda _, x: _mean_token(_tokens(x)),
         {"scores": lambda: nn.Linear(6, 16)}),
    Case("einsum_attention", lambda _, x: torch.einsum(HEADS[1], torch.einsum(HEADS[0], _tokens(x), _tokens(x)),
         _tokens(x)), lambda _, x: _mean_token(_tokens(x))),
    Case("baddbmm", lambda _, x: torch.baddbmm(_tokens(x), torch.bmm(_tokens(x), x.flatten(2)), _tokens(x)),
         lambda _, x: _tokens(x) + _mean_token(_tokens(x))),
    Case("softmax_ensemble", _ensemble, lambda m, x: 0.25 * m.one(x.flatten(1)) + 0.75 * m.two(x.flatten(1)), TWO),
    Case("experts", _experts, lambda m, x: (m.a(x) + m.b(x)) / 2,
         {"route": lambda: nn.Linear(6, 2), "a": lambda: nn.Conv2d(6, 6, 1), "b": lambda: nn.Conv2d(6, 6, 1)}),
    Case("pooling_by_scores", lambda m, x: (m.scores(x.flatten(1)).softmax(1).unsqueeze(1) * x.flatten(2)).sum(-1),
         lambda _, x: x.mean((2, 3)), {"scores": lambda: nn.Linear(96, 16)}),
    Case("shares_changed_in_place", _shares_changed, lambda m, x: m.values(x.flatten(1)),
         {"scores": lambda: nn.Linear(96, 8), "values": lambda: nn.Linear(96, 8)}),
    Case("softmax_by_hand", _softmax_by_hand, lambda _, x: _mean_token(_tokens(x))),
    Case("copied_by_a_cast", lambda _, x: _plus_itself(x, x.half()), lambda _, x: 3 * x),
    Case("relu_by_assignment", _relu_by_assignment, lambda m, x: m.conv(x), CONV),
    Case("offsets_are_no_masks", lambda _, x: 255 * x + torch.full((1, 6, 1, 1), -120.0), lambda _, x: 255 * x - 120),
    Case("signed_root", lambda _, x: x.sign() * x.abs().sqrt(), lambda _, x: x),
    Case("lstm_cell", lambda m, x: m.cell(x.mean((2, 3)), (m.state(x.mean((2, 3))), x[:, :, 0, 0]))[0],
         lambda m, x: x[:, :, 0, 0] + _cell(m, x), CELL | {"cell": lambda: nn.LSTMCell(6, 6)}),
    Case("gru_cell", lambda m, x: m.cell(x.mean((2, 3)), m.state(x.mean((2, 3)))),
         lambda m, x: (m.state(x.mean((2, 3))) + _cell(m, x)) / 2,
         CELL | {"cell": lambda: nn.GRUCell(6, 6)}),
    Case("casts", lambda m, x: m.conv(x.float() * torch.ones(6, 1, 1)).to(torch.float32).type_as(x),
         lambda m, x: m.conv(x), CONV),
    Case("constants_in_float32", lambda m, x: _tokens(x) + m.scores(torch.ones(1, 6)) @ m.back(_tokens(x)),
         lambda m, x: _tokens(x) + m.scores(torch.ones(1, 6, dtype=x.dtype)) @ m.back(_tokens(x)),
         {"scores": lambda: nn.Linear(6, 16), "back": lambda: nn.Linear(6, 6)}),
)  # fmt: skip


def _last_states(m: nn.Module, x: Tensor) -> Tensor:
    """The last state of each layer and direction, summed: the forward ones' last token, the backward ones' first."""
    total, sequence = 0, _tokens(x)
    for layer in range(2):
        sides = []
        for suffix in ("", "_reverse"):
            h, seen = torch.zeros_like(sequence[:, 0, :6]), []
            for t in range(16) if not suffix else reversed(range(16)):
                h = h + _shares(m.rnn, sequence[:, t], h, f"l{layer}{suffix}", 2)
                seen.append(h)
            total = total + h
            sides.append(torch.stack(seen[::-1] if suffix else seen, 1))
        sequence = torch.cat(sides, -1)
    return total
