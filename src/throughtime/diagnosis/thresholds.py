"""Every number that decides whether there is a finding, with its reason. Rules name them; none has one of its own."""

# What is looked at ---------------------------------------------------------------------------------------------------

SAMPLE_ROWS = 128  # sequences that probes run on: the standard error of a share is then below 0.045
SAMPLE_STEPS = 200_000  # rows x steps at most, so that long sequences are probed in seconds
HELD_FROM = 64  # sequences from which on some are held out of the short training
FLOW_ROWS = 32  # sequences of the gradient flow
TRAINING_STEPS = 120  # of the short training: enough for Adam at 0.001 to move each weight by a tenth
TRIAL_STEPS = 40  # for each other learning rate
ENOUGH = 0.8  # share of the training steps from which on a run is judged

# Data ----------------------------------------------------------------------------------------------------------------

# Neighbouring steps of a real series are alike (0.5 and more); columns of different meaning are not, once each place
# has its mean taken away. A gap is asked for as well, because bins of a spectrogram are alike along both axes.
ALIKE, ALIKE_GAP = 0.5, 0.3
INTERIOR_MASKED = 0.005  # share of the steps between valid ones that are masked, from which on it is no coincidence
DEPENDS = 0.3  # correlation of the target with the number of such steps: by chance below 0.2 from 100 sequences on
PADDED_ROWS = 0.1  # share of the sequences that end (or begin) in the same constant
CHANCE_RUN = 3.0  # a run of the constant is padding when so many times longer than its frequency inside explains
FREQUENT = 0.25  # share of the other steps from which on a constant is a value like others
EXACT = 1e-6  # how near to 0 and 1 a minimum and maximum lie that a scaler has put there
STANDARD = 2e-3  # the same for a mean of 0 and a standard deviation of 1, whose windows weigh the ends less
SHARED = 0.05  # share of the validation windows whose end lies in a training window
REACHABLE = 0.01  # share of targets beyond the output's range
ONE_HOT_ROWS = 20  # so many rows, all of them one-hot over three classes or more, are no coincidence
FAR_SCALE = 10.0  # a standard deviation or mean this far from 1: initialisers keep variance only for inputs near 1

# Probes --------------------------------------------------------------------------------------------------------------

EQUAL = 0.98  # squared correlation of a target with an input so many steps ahead, from which on it is that input
# An input ahead is the answer where it leaves a tenth of what the best one up to the target's step leaves: of a smooth
# curve that is half the time ahead, symmetry leaves a quarter. Below the second number nothing is left to be told.
MUCH_CLOSER, TOLD_BEFORE = 0.1, 1e-6
SUMS_TO_ONE = 1e-3  # of float32 probabilities: what a softmax gives lies within 1e-6
MOVED = 1e-3  # relative to the spread of the outputs; float32 through hundreds of steps stays below 1e-4
SATURATED = 0.6  # share of a gate's values beyond 0.1 and 0.9: near 0.1 with default initialisers on scaled inputs
TOO_LARGE = 5.0  # times the deviation of glorot_uniform, in a kernel that has not been trained
RELIEVED = 0.5  # share of that saturation that standard inputs may leave, to say the scale is the cause

# Gradient through time -----------------------------------------------------------------------------------------------

DEAD = 1e-4  # share of the last step's gradient: AUTOTRAINER's bound between layers, here between time steps
GROWN = 30.0  # times the last step's gradient at the first step; AUTOTRAINER has 70 between layers
GROWTH_RATE = 1.02  # per step, so that GROWN is a trend and not one step
JUMPS = 30.0  # largest over median gradient norm of a short training: healthy runs stayed below 12
STATE_GROWTH = 1.02  # per step of the state's norm over the later half of the sequence
STATE_SIZE = 100.0  # of the state's largest value: tanh bounds it by 1

# Training ------------------------------------------------------------------------------------------------------------

LEARNED = 0.03  # the loss has to fall this far below the best constant's before anything was learned
FALLING = 0.02  # a fall of the loss over the second half of the short training, on the same rows
BY_HEART = 0.6  # of the best constant's loss, on the rows that were trained on
BETTER = 0.15  # share of the loss by which another learning rate has to be better to be the cause
FLAT_SPREAD = 0.25  # of the predictions' standard deviation to that of the targets, where the loss stands still
NO_SPREAD = 0.03  # the same where it still falls: an untrained network has 0.1 and more
MOVES = 0.05  # relative change of the weights over the whole fit that is too small to learn anything
MOVES_FAR = 0.2  # of the weights' size in one step: five such steps have replaced them, and lower rates are tried
PLANNED_STEPS = 10_000  # of a fit whose length is not given
FAR_ABOVE = 10.0  # gradient norm to clipping threshold, on every step
GAP = 1.25  # validation loss at the end over its least, while training loss falls
REFERENCE_GAIN = 0.05  # share of the constant's loss by which a simple reference has to be better, cross-validated
UNSURE = 0.12  # standard error of that comparison above which nothing is said: of fewer than some 60 sequences
ECHO = 0.02  # skill against the last value: below this the forecast is no better
