"""For compare.py: how fast each core is now. For every line on standard input a JSON line: GFLOP/s of one core after the other, products of bf16
by PyTorch on one thread, a tenth of a second each. In a virtual machine a core can be a thread of one that others use too, and then several times
slower than its neighbour, while this system's own load is nothing."""

import json
import os
import sys
import time

import torch

SIZE, MOST = 512, 8
torch.set_num_threads(1)
matrix = torch.randn(SIZE, SIZE).to(torch.bfloat16)
cores = sorted(os.sched_getaffinity(0))[:MOST]
for _ in sys.stdin:
    rates = []
    for core in cores:
        os.sched_setaffinity(0, {core})
        matrix @ matrix
        begin, count = time.perf_counter(), 0
        while (took := time.perf_counter() - begin) < 0.1:
            matrix @ matrix
            count += 1
        rates.append(2e-9 * SIZE**3 * count / took)
    print(json.dumps(rates), flush=True)
