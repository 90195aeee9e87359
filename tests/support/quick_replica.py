"""A worker process that starts in a fraction of a second: torch and transformers are imported once for all of them."""

import multiprocessing

from captioner.replicas.process import ProcessReplica


class QuickReplica(ProcessReplica):
    """Forked off a server that has imported them."""

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["captioner.replicas.worker", "torch._dynamo", "transformers.models.qwen3_vl.modeling_qwen3_vl"]
    )
