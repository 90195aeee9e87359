"""Processes that start in a fraction of a second: what they import is imported once for all of them."""

import multiprocessing

from captioner.replicas.process import ProcessReplica

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "captioner.replicas.worker",
        "captioner.media.sandbox",
        "torch._dynamo",
        "transformers.models.qwen3_vl.modeling_qwen3_vl",
        "transformers.utils.chat_template_utils",
    ]
)


class QuickReplica(ProcessReplica):
    """A worker forked off a server that has imported its modules."""

    context = FORKED
