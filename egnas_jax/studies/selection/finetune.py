"""Trains the weights of a supernet between the decisions of a selector.

The steps are those of the run itself (`search.step`), under the weights of primitives
and edges that the selector has so far. Alpha is not trained.

Source: DARTS-PT trains five epochs after each decision, from a tenth of the search's
learning rate on, with the optimiser made anew. Here the rate stays at that tenth.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.runs.data import ArrayData
from egnas_jax.runs.search_result import SearchResult
from egnas_jax.runs.search_setup import search_data, search_hyperparams, search_problem
from egnas_jax.search.epoch import steps_of_epoch
from egnas_jax.search.functions import KeyedState, ScheduledHyperparams, make_functions
from egnas_jax.search.state import SearchData, SearchState, zero_totals
from egnas_jax.space import SPACES
from egnas_jax.studies.selection.cells import CellWeights
from egnas_jax.studies.selection.score import PopulationScore, as_mixing
from egnas_jax.training.random_streams import root_key

SHARE = 0.1  # of the search's learning rate


class FineTuning:
    """Trains a copy of a run's weights, and hands it to a score.

    Attributes:
      images_trained: training images of all weight steps so far.
    """

    def __init__(
        self,
        run: SearchResult,
        score: PopulationScore,
        epochs: int,
        *,
        data: ArrayData | None = None,
    ):
        """Loads the training images.

        Args:
          run: has the weights to begin with.
          score: the score whose weights are replaced.
          epochs: of each call.
          data: the arrays that the search was given; None: the data that it names.

        Raises:
          ValueError: the data are not found, or are not those of the run.
        """
        self.images_trained = 0
        self._run, self._score, self._epochs = run, score, epochs
        self._space = SPACES[run.net.config.space]
        self._data = search_data(run.config, data=data, data_dir=run.data_dir)
        self._train, self._hyperparams = _program(run, self._data)
        self.reset()

    def reset(self) -> None:
        """Goes back to the weights of the run, and makes the optimiser anew."""
        state = self._run.state
        self._state: SearchState = state.replace(
            optimizer=jax.tree.map(jnp.zeros_like, state.optimizer),
            alpha_gradient={},
            totals=zero_totals(),
            step=jnp.zeros_like(state.step),
        )
        self._score.variables = state.variables

    def __call__(self, cells: CellWeights) -> None:
        """Trains the weights under cells, and evaluates by them from then on.

        Args:
          cells: weights of primitives [G, E, K] and of edges [G, E].
        """
        self._state = self._state.replace(strategy=as_mixing(self._space, cells))
        for _ in range(self._epochs):
            # what is donated must be neither the run's weights nor the score's
            state = jax.tree.map(jnp.copy, self._state)
            key = jnp.copy(root_key(self._run.config.seed))
            trained, totals = self._train(
                KeyedState(key, state), self._data, self._hyperparams
            )
            self.images_trained += int(totals.images)
            self._state = trained.search.replace(
                epoch=trained.search.epoch + 1,
                step=jnp.zeros_like(trained.search.step),
                totals=zero_totals(),
            )
        self._score.variables = self._state.variables


def _program(
    run: SearchResult, data: SearchData
) -> tuple[Callable, ScheduledHyperparams]:
    """The weight steps of an epoch, compiled at their first call, and their rate.

    They are those of the run's method, whose state is the mixing itself. The gradient
    of alpha, which is not trained, does not count for the clip.
    """
    shape = data.train.images.shape[1:]
    problem = search_problem(run.config, run.net, shape)
    problem = problem._replace(
        strategy=problem.strategy._replace(
            update_every="epoch",
            mixing=lambda key, state: state,
            learn=None,
        ),
        schedule=dataclasses.replace(problem.schedule, alpha_in_clip=False),
    )
    hyperparams = search_hyperparams(run.config, problem.strategy)
    functions = make_functions(problem, shape, hyperparams)
    steps = steps_of_epoch(problem, len(data.train.labels))
    rate = np.float32([SHARE * run.config.learning_rate])

    def train(state, data, hyperparams):
        span = jnp.int32(0), jnp.int32(steps)
        return functions.train_steps(state, data, hyperparams, span)

    program = jax.jit(
        train, donate_argnums=0, compiler_options=functions.compiler_options
    )
    return program, functions.hyperparams.replace(learning_rates=rate)
