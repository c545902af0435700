"""Two processes of DistributedDataParallel get the gradient of the whole batch.

They are forked, so that everything is imported once.
"""

import sys

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel

from nisqkit.circuits import angle, hardware_efficient
from nisqkit.qml import QuantumLayer


def main(rank: int, rendezvous: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    circuit = angle(2).compose(hardware_efficient(2, 1))
    layer = QuantumLayer(circuit, "x", init="uniform", seed=rank).double()  # rank 0's weights win
    parallel = DistributedDataParallel(layer)
    x = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(8, 2)
    parallel(x[rank::2]).pow(2).mean().backward()
    alone = QuantumLayer(circuit, "x", init="uniform", seed=0).double()
    alone(x).pow(2).mean().backward()
    torch.testing.assert_close(layer.weights.grad, alone.weights.grad)
    dist.destroy_process_group()


if __name__ == "__main__":
    start_processes(main, args=(sys.argv[1],), nprocs=2, start_method="fork")
