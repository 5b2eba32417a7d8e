"""Recurrent stand-ins: gates let all pass, activations are dropped; the candidate's path through time stays.

With every gate at 1, an LSTM's cell is ``c_t = c_{t-1} + W x_t + U h_{t-1} + b`` and ``h_t = c_t``. A GRU's update gate
weighs old state against candidate, so it becomes its constant mean, one half each; its reset gate becomes 1.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

StandIn = Callable[..., Any]
Step = Callable[[Tensor, Tensor, Tensor, Sequence[Tensor]], Tensor]
"""From input, state, cell and weights to the next state, which is the next cell, too."""


def _candidate(x: Tensor, h: Tensor, weights: Sequence[Tensor], place: int) -> Tensor:
    """``W x + b + U h + b'`` of the gate at this place in the stacked weights."""
    part = slice(place * h.shape[-1], (place + 1) * h.shape[-1])
    into, own, *biases = (weight[part] for weight in weights)
    bias, state_bias = biases or (None, None)
    return F.linear(x, into, bias) + F.linear(h, own, state_bias)


def _lstm_step(x: Tensor, h: Tensor, c: Tensor, weights: Sequence[Tensor]) -> Tensor:
    return c + _candidate(x, h, weights, 2)


def _gru_step(x: Tensor, h: Tensor, _: Tensor, weights: Sequence[Tensor]) -> Tensor:
    return (h + _candidate(x, h, weights, 2)) / 2


def _rnn_step(x: Tensor, h: Tensor, _: Tensor, weights: Sequence[Tensor]) -> Tensor:
    return _candidate(x, h, weights, 0)


def _run(
    step: Step,
    x: Tensor,
    states: Tensor,
    cells: Tensor,
    weights: Sequence[Tensor],
    has_biases: bool,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor]:
    """All layers and directions over a padded batch; the outputs and each direction's last state."""
    if batch_first:
        x = x.transpose(0, 1)
    directions = 2 if bidirectional else 1
    each = 4 if has_biases else 2
    if len(weights) != layers * directions * each:
        raise TypeError("a recurrent layer with projections has no linear stand-in")
    last = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            own = weights[place * each : (place + 1) * each]
            h, c, steps = states[place], cells[place], []
            for t in range(len(x)) if direction == 0 else reversed(range(len(x))):
                h = c = step(x[t], h, c, own)
                steps.append(h)
            outputs.append(torch.stack(steps if direction == 0 else steps[::-1]))
            last.append(h)
        x = torch.cat(outputs, -1)
    return x.transpose(0, 1) if batch_first else x, torch.stack(last)


def recurrent(step: Step, *, cell: bool = False) -> StandIn:
    """Torch's ``lstm(input, (h, c), weights, …)``, ``gru`` and ``rnn_*``; packed sequences have no stand-in."""

    def stand_in(
        input: Tensor,
        hx: Any,
        params: Any,
        has_biases: bool,
        num_layers: int,
        dropout: float,  # noqa: ARG001
        train: bool,  # noqa: ARG001
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, ...]:
        if not isinstance(has_biases, bool):
            raise TypeError("a recurrent layer on a packed sequence has no linear stand-in")
        states, cells = hx if cell else (hx, hx)
        outputs, last = _run(step, input, states, cells, params, has_biases, num_layers, bidirectional, batch_first)
        return (outputs, last, last) if cell else (outputs, last)

    return stand_in


lstm, gru, rnn = recurrent(_lstm_step, cell=True), recurrent(_gru_step), recurrent(_rnn_step)


def recurrent_cell(step: Step, *, cell: bool = False) -> StandIn:
    """Torch's ``lstm_cell(input, (h, c), weights…)``, ``gru_cell`` and ``rnn_*_cell``: one step."""

    def stand_in(input: Tensor, hx: Any, *weights: Tensor | None) -> Any:
        h, c = hx if cell else (hx, hx)
        state = step(input, h, c, [weight for weight in weights if weight is not None])
        return (state, state) if cell else state

    return stand_in


lstm_cell, gru_cell = recurrent_cell(_lstm_step, cell=True), recurrent_cell(_gru_step)
rnn_cell = recurrent_cell(_rnn_step)
