"""ClustPy's DEC, IDEC, DCN and VaDE, with their defaults, on a GPU if there is one.

They read scanpy's 50 PCs, z-normalised as a whole as in ClustPy's documentation (components, then
`(X - mean(X)) / std(X)`; https://clustpy.readthedocs.io). VaDE's default loss is binary cross-entropy, which such values
refuse: it has the squared error that its message then recommends, summed as the default is, and no sigmoid at the end of
its decoder.
"""

from __future__ import annotations

import torch
from clustpy.deep import DCN, DEC, IDEC, VaDE
from clustpy.deep.neural_networks import VariationalAutoencoder
from exchange import serve

METHODS = {"clustpy_dec": DEC, "clustpy_idec": IDEC, "clustpy_dcn": DCN, "clustpy_vade": VaDE}
OWN = {"clustpy_dec": "dec_labels_", "clustpy_idec": "dec_labels_", "clustpy_dcn": "dcn_labels_"}


def fit(job, x, n_clusters, seed, *, short):
    x = (x - x.mean()) / x.std()
    options = {"pretrain_epochs": 1, "clustering_epochs": 1} if short else {}
    if job == "clustpy_vade":
        options["ssl_loss_fn"] = torch.nn.MSELoss(reduction="sum")
        options["neural_network"] = (VariationalAutoencoder, {"decoder_output_fn": None})  # of the default layers
    model = METHODS[job](n_clusters, random_state=seed, **options).fit(x)
    return {job: lambda: model.labels_, f"{job}_own": lambda: getattr(model, OWN.get(job, "vade_labels_"))}


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(fit, on_gpu=torch.cuda.is_available())
