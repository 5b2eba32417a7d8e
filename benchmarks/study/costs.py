"""What each measure costs in passes of one image, forward or backward, for K classes, and whether it needs data."""

from benchmarks.study.predictors import IMAGES, PROBES

RADIUS = 2 * 7 * 10 + 8
_AN_IMAGE = {
    "margin/": "(K + 1)", "local_gap/": "(K + 1)", "local_gap_raw/": "(K + 1)", "local_rank/": "(K + 1)",
    "fisher/": "(K + 1)", "margin_two/": "2", "slope/": "2", "linearity/": "3", "logit_margin/": "1", "answers/": "1",
    "radius/": str(RADIUS),
}  # fmt: skip
_WHOLE = {
    "gap": "K + 5", "silhouette/": "K + 5", "effective_rank/": "K + 5", "smoothness/": "K + 5",
    "reached/": "8 · 21 · K",
    "layer_correlation": "0", "filter_": "0", "log_spectral": "0", "clean accuracy": "500",
    "loss_gradient": f"{2 * IMAGES}",
    "fgsm_kept/": f"{3 * IMAGES}", "true_logit_margin": f"{IMAGES}", "margin_spread": f"{IMAGES}", "great": f"{IMAGES}",
    "confidence": f"{IMAGES}", "feature_gap": f"{IMAGES}", "separation": f"{IMAGES}", "clever": "40 · 33",
    "ranks of": f"{2 * PROBES} · (K + 1)",
}  # fmt: skip
_WITH_DATA = (
    "clean accuracy", "loss_gradient", "fgsm_kept/", "true_logit_margin", "margin_spread", "great", "confidence",
    "feature_gap", "separation", "clever",
)  # fmt: skip


def needs_data(name: str) -> bool:
    return name.startswith(_WITH_DATA) or name.endswith("/data")


def cost_of(name: str) -> str:
    """Passes, as a formula in K; at most so many where an attack stops early."""
    for prefix, passes in _AN_IMAGE.items():
        if name.startswith(prefix):
            kind = name.rpartition("/")[2]
            making = {"dream": f" + {PROBES} · 40", "confident": f" + {PROBES} · 8"}.get(kind, "")
            return f"{IMAGES if kind == 'data' else PROBES} · {passes}{making}"
    return next(passes for prefix, passes in _WHOLE.items() if name.startswith(prefix))
