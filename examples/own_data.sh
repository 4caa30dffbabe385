#!/bin/sh
# Post-training on a folder of mp4 files: sh examples/own_data.sh VIDEOS CAPTIONS.csv PROMPTS.txt
# CAPTIONS.csv has the columns file_name and caption, and perhaps law; PROMPTS.txt a prompt a line.
set -e
PYTHON=${PYTHON:-python}
SIZE="--set model.frames=17 --set model.height=32 --set model.width=32 --set model.fps=8"
DATA="--set data.source=cache --set data.clips=${CLIPS:-4} --set macro.clusters=2"
LOSS="--set loss.lambda_hard=0"  # hard negatives need `prepare perturb` and a language model
TRAIN="--set train.steps=${STEPS:-100} --set train.checkpoint_every=50"

# Which clips, and why not the others: cache/wisa/manifest.jsonl and left_out.jsonl
$PYTHON -m direct.prepare curate --profile tiny --videos "$1" --captions "$2" \
    --min-frames 17 --aspect any --retime $SIZE

# Latents and embeddings are made when training asks for them.
$PYTHON -m direct.train --profile tiny --folder own $SIZE $DATA $LOSS $TRAIN

# One clip a prompt
n=0
while read -r prompt; do
    n=$((n + 1))
    $PYTHON -m direct.generate --run own --prompt "$prompt" --out "own-$n.gif" < /dev/null
done < "$3"
