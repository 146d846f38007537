"""
Rounds: each measures everything once, in another order, so that a noisy machine hits all alike.
"""

import random
import statistics


def take_turns(ways, rounds, advance=lambda: None):
    """
    Yield each way once a round.

    Args:
        ways (iterable): what is compared.
        rounds (int): how many rounds.
        advance (callable): called after each turn.

    Yields:
        object: the way whose turn it is.
    """
    for number in range(rounds):
        order = list(ways)
        # The same in each run, and no way always after the same other one.
        random.Random(number).shuffle(order)
        for way in order:
            yield way
            advance()


def summarize(values):
    """
    Summarize what was measured once a round.

    Args:
        values (list[float]): a value for each round.

    Returns:
        dict: their ``median``, the ``low``\\ est and the ``high``\\ est, and the ``values``.
    """
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "values": list(values)}


def compare(values, others):
    """
    Compare round by round.

    Args:
        values (list[float]): a value for each round.
        others (list[float]): what it is divided by, of the same rounds.

    Returns:
        dict: the ratios, as ``summarize`` has them.
    """
    return summarize([value / other for value, other in zip(values, others, strict=True)])


def target(text, measured, most=None, least=None):
    """
    Hold a summary, or a number, against a target.

    Args:
        text (str): what is measured.
        measured (dict | float): a summary, of which the median counts, or a number.
        most (float): it is to be at most this.
        least (float): it is to be at least this.

    Returns:
        dict: all that, and whether it is ``met``.
    """
    value = measured["median"] if isinstance(measured, dict) else measured
    met = value <= most if least is None else value >= least
    return {"text": text, "measured": measured, "most": most, "least": least, "met": met}
