"""The network alone, in a loop of one's own: clips that a program makes itself, torch's optimiser, nothing else.

python docs/examples/network.py
"""

import torch
from torch.nn.functional import cross_entropy

from blvnet import BLVNetTAM


def clips(videos: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Float (videos, 4, 3, 64, 64) of a bright bar that moves right (class 1) or left (class 0), and int64 labels."""
    labels = torch.arange(videos) % 2
    made = torch.randn(videos, 4, 3, 64, 64) / 4
    for video, label in enumerate(labels.tolist()):
        start = int(torch.randint(0, 16, ()))
        for frame in range(4):
            left = start + 12 * (frame if label else 3 - frame)
            made[video, frame, :, :, left : left + 12] += 2
    return made, labels


def main(steps: int = 10) -> float:
    """Train; returns the share of new clips that are told apart."""
    torch.manual_seed(0)
    model = BLVNetTAM(depth=50, num_frames=4, num_classes=2)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for step in range(steps):
        inputs, labels = clips(8)
        loss = cross_entropy(model(inputs), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    inputs, labels = clips(32)
    with torch.no_grad():
        right = (model(inputs).argmax(1) == labels).float().mean().item()
    print(f"{right:.0%} of 32 new clips are right")
    return right


if __name__ == "__main__":
    main()
