import pytest
import torch

from tabweave.training.checkpoints.averaging import AveragedWeights, moving_average

CPU = torch.device("cpu")


def by_the_book(values, decay):
    """The first value, then a step towards each later one."""
    average = values[0]
    for count, value in enumerate(values[1:], 1):
        kept = min(decay, (1 + count) / (10 + count))
        average = kept * average + (1 - kept) * value
    return average


def test_the_average_follows_its_formula_and_forgets_the_start():
    values = [torch.full((2,), float(n * n % 7)) for n in range(30)]
    average = [values[0].clone()]
    for count, value in enumerate(values[1:], 1):
        moving_average(0.9)(average, [value], torch.tensor(count))
    torch.testing.assert_close(average[0], by_the_book(values, 0.9))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_step_is_averaged_once(fit, accumulate):
    seen = {}

    def after(module, batch, outputs):
        weights = [p.detach().clone() for p in module.model.parameters()]
        seen[module.trainer.global_step] = weights  # the last batch of a step wins

    _, module = fit(
        "tabular",
        callbacks=[AveragedWeights(0.8, CPU)],
        after=after,
        max_epochs=2,
        accumulate_grad_batches=accumulate,
    )
    steps = [seen[step] for step in sorted(seen) if step]
    assert len(steps) == 12 // accumulate
    for number, parameter in enumerate(module.model.parameters()):
        wanted = by_the_book([weights[number] for weights in steps], 0.8)
        # After training, the model has the averages.
        torch.testing.assert_close(parameter.detach(), wanted)
        assert not torch.equal(parameter.detach(), steps[-1][number])


def test_validation_uses_the_average_and_training_goes_on_without_it(fit):
    ends, starts = [], []

    def before(module, batch):
        starts.append(module.model.head.weight.detach().clone())

    def after(module, batch, outputs):
        ends.append(module.model.head.weight.detach().clone())

    fit(
        "tabular",
        callbacks=[AveragedWeights(0.8, CPU)],
        before=before,
        after=after,
        max_epochs=3,
    )
    # A validation lies between batches 6 and 7, and 12 and 13.
    for end, start in zip(ends, starts[1:], strict=False):
        assert torch.equal(end, start)


@pytest.mark.filterwarnings("ignore:You're using the WeightAveraging:UserWarning")
def test_the_average_lies_where_training_runs_whatever_the_module_says(fit):
    # When Lightning sets callbacks up, it has not moved the module yet.
    average = AveragedWeights(0.8, torch.device("meta"))
    _, module = fit("tabular", max_epochs=1)
    assert module.device == CPU
    average.setup(module.trainer, module, "fit")
    devices = {weight.device.type for weight in average._average_model.parameters()}
    assert devices == {"meta"}
    assert {weight.device for weight in module.parameters()} == {CPU}
