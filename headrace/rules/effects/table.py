"""Effects by the name of their kind."""

from headrace.rules.effects.deploying import deploy, roll_back
from headrace.rules.effects.gating import gate
from headrace.rules.effects.outside import alert, command, webhook
from headrace.rules.effects.port import Effect
from headrace.rules.effects.training import evaluate, train, tune
from headrace.rules.life import ROLL_BACK

EFFECTS: dict[str, Effect] = {
    "train": train,
    "tune": tune,
    "evaluate": evaluate,
    "gate": gate,
    "deploy": deploy,
    "command": command,
    "webhook": webhook,
    "alert": alert,
    ROLL_BACK: roll_back,
}
