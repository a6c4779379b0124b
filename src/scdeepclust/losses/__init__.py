"""Second and third axis of the taxonomy: pure functions, each idea in one file, loaded on first use."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "representation.contrast": ["alike", "balance", "cluster_contrast", "info_nce", "not_among", "unlike"],
        "representation.distillation": ["centred", "self_distillation"],
        "representation.halves": ["Halves", "coin_tosses", "of_axes", "of_genes", "of_molecules", "squared_error"],
        "representation.margin": ["semi_hard"],
        "representation.masked": ["changed_entries", "masked_mse", "masking_chances", "swap_loss"],
        "representation.reconstruction": ["Counts", "mse", "nb", "zinb"],
        "representation.score": ["standard_error"],
        "clustering.collapse": ["CollapseWarning", "collapsed"],
        "clustering.hardening": ["hardening", "sharpen", "student_t"],
        "clustering.independence": ["mutual_information"],
        "clustering.known": ["cross_entropy"],
        "clustering.locality": ["locality"],
        "clustering.mixture": ["mixture_divergence", "mixture_log_posterior"],
    },
)
