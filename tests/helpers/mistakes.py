"""Mistakes that newcomers make: one command line each, and what the answer must name.

Commands run in a folder with these files: ``sft.yaml``, ``grpo.yaml``, ``embedder.yaml`` (recipes that run), ``base``
(a causal LM), ``encoder`` (a SentenceTransformer), ``train.jsonl`` and ``dev.jsonl`` (columns zh and bo),
``run/adapter`` (a trained adapter), ``wide/adapter`` (one of another base), and the broken files of ``BROKEN``.

To add a mistake, add a line to ``MISTAKES``: the tests run all of them.
"""

from __future__ import annotations

from typing import NamedTuple

ROW = '{"zh": "老师在学校看书。", "bo": "དགེ་རྒན་སློབ་གྲྭར་དཔེ་ཆ་བལྟས།"}\n'
BROKEN = {
    "empty.yaml": b"",
    "broken.yaml": b"model:\n  class_path: [SFTModule\n data: x\n",
    "typo.yaml": b"modle:\n  class_path: SFTModule\n",
    "study/study.yaml": b"base: {from: sft}\n",
    "empty.jsonl": b"",
    "blank.jsonl": b"\n\n\n",
    "header.csv": b"zh,bo\n",
    "broken.jsonl": (ROW + '{"zh": "x", "bo": \n').encode(),
    "gbk.csv": "zh,bo\n老师,老师\n".encode("gbk"),
    "paper.pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "old.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "model.gguf": b"GGUF" + bytes(60),
    "notes.docx": b"PK\x03\x04" + bytes(60),
}
"""Content of files that cannot be used, by name."""


class Mistake(NamedTuple):
    """One mistake.

    Attributes:
        line: Command line, without ``semalign``.
        wrong: Text that the answer must begin with: flag, key or file, and what is wrong.
        remedy: Text that the answer must have after it: what to do.
        usage: True if the command line and the recipe alone show it, so that neither torch nor a second is needed.
    """

    line: str
    wrong: str
    remedy: str
    usage: bool = False


def usage(line: str, wrong: str, remedy: str) -> Mistake:
    """A mistake in the command line or in a recipe."""
    return Mistake(line, wrong, remedy, True)


FIT, GRPO, DATA, MODEL = "fit --config sft.yaml", "fit --config grpo.yaml", "--data.init_args", "--model.init_args"
MISTAKES = [
    usage("fti --config sft.yaml", "there is no command 'fti'", "did you mean fit?"),
    usage("train --config sft.yaml", "there is no command 'train'", "see semalign --help"),
    usage("--config sft.yaml", "there is no command '--config'", "write one before it, e.g. semalign fit"),
    usage("fit", "model: it is required but not set", "set model.class_path, e.g. SFTModule or"),
    usage("fit sft.yaml", "sft.yaml: this argument belongs to no flag", "write it as --config sft.yaml, or leave it"),
    usage("fit --config", "--config: the flag needs a value", "write --config VALUE"),
    usage("fit -config sft.yaml", "-config: a flag begins with two dashes", "write --config"),
    usage("fit --config stf.yaml", "--config: there is no file stf.yaml", "check the path, it is relative to the"),
    usage("fit --config study", "--config: study is not a file", "give the YAML file in it"),
    usage("fit --config empty.yaml", "--config: empty.yaml is empty", "give a YAML file with keys such as model and"),
    usage(
        "fit --config broken.yaml",
        "--config: broken.yaml is not YAML: line 3, column 6: expected ',' or ']',",
        "mend that line",
    ),
    usage(
        "fit --config train.jsonl",
        "--config: train.jsonl is a corpus, and a recipe is needed",
        "give a YAML file, and name the corpus with",
    ),
    usage("fit --config typo.yaml", "modle: there is no such key", "did you mean model? (typo.yaml, line 1)"),
    usage(
        "fit --config study/study.yaml",
        "--config: study/study.yaml lists systems",
        "semalign study --config study trains them",
    ),
    usage(
        "fit --config https://example.org/sft.yaml",
        "--config: https://example.org/sft.yaml is a URL, and only local files are",
        "download it and give its path",
    ),
    usage(
        f"{FIT} --learning_rate 1e-4",
        "--learning_rate: there is no such key",
        "here it is --model.init_args.optimizer.init_a",
    ),
    usage(f"{FIT} --max_steps 5", "--max_steps: there is no such key", "did you mean trainer.max_steps?"),
    usage(f"{FIT} {MODEL}.bse base", "model.init_args.bse: there is no such key", "did you mean base?"),
    usage(f"{FIT} {MODEL}.max_new_tokens=many", "model.init_args.max_new_tokens: needs", "a whole number, not 'many'"),
    usage(
        f"{FIT} {MODEL}.weights=int8", "model.init_args.weights: int8 is none of nf4, bf16, fp32", "give one of them"
    ),
    usage(
        f"{FIT} {MODEL}.lora.rank=8",
        "model.init_args.lora.rank: there is no such key",
        "it has r, alpha, dropout, target_modules, var",
    ),
    usage(f"{FIT} --model=GRPOModul", "model.class_path: there is no class GRPOModul", "did you mean GRPOModule?"),
    usage(
        f"{FIT} --trainer.max_step=3",
        "--trainer.max_step: there is no such key",
        "did you mean trainer.max_steps? (sft.yaml, li",
    ),
    usage(f"{FIT} {DATA}.batchsize=4", "data.init_args.batchsize: there is no such key", "did you mean batch_size?"),
    usage(f"{FIT} {DATA}.batch_size=four", "data.init_args.batch_size: needs", "a whole number, not 'four'"),
    usage(
        f"{FIT} {DATA}.bad_rows=ignore",
        "data.init_args.bad_rows: ignore is none of error, quarantine",
        "give one of them",
    ),
    usage(f"{FIT} --seed_everything", "--seed_everything: the flag needs a value", "write --seed_everything VALUE"),
    usage("study", "--config, --out: missing", "see semalign study --help"),
    usage(
        "study --config nowhere --out x",
        "--config: there is no cold_start.yaml in nowhere",
        "give it cold_start, strong_sft, semantic_grpo",
    ),
    usage(
        "study --config sft.yaml --out x",
        "--config: there is no cold_start.yaml in sft.yaml",
        "give it cold_start, strong_sft, semantic_grpo",
    ),
    usage("report", "folder: missing", "see semalign report --help"),
    usage(
        "report nowhere",
        "nowhere/results.json: cannot be read (No such file or directory)",
        "Run the study again, or point the report at t",
    ),
    usage(
        "report sft.yaml",
        "sft.yaml/results.json: cannot be read (Not a directory)",
        "Run the study again, or point the report at t",
    ),
    usage(
        "report run",
        "run/results.json: cannot be read (No such file or directory)",
        "Run the study again, or point the report at t",
    ),
    usage(
        "frontier --config sft.yaml",
        "the first argument is the adapter to test, RUN/adapter",
        "see semalign frontier --help",
    ),
    usage("frontier run/adapter --config sft.yaml", "--out: missing", "give the folder for results, such as the run'"),
    usage(
        "frontier run/adapter --config stf.yaml --out x",
        "--config: there is no file stf.yaml",
        "check the path, it is relative to the working",
    ),
    usage(
        "frontier run/adapter --config sft.yaml --out x --scales half",
        "--scales: needs numbers, not 'half'",
        "see semalign frontier --help",
    ),
    usage(
        "frontier run --config sft.yaml --out x",
        "model.init_args.adapter: run is not an adapter folder (no adapter_config.json in it)",
        "did you mean run/adapter?",
    ),
    usage("dial run/adapter --config sft.yaml --out x", "--lose: missing", "see semalign dial --help"),
    usage(
        "dial run/adapter --config sft.yaml --out x --lose much",
        "--lose: 'much' is not METRIC=MOST",
        "write e.g. cmrc_f1=2,nll_change_mean=0.02",
    ),
    usage(
        "dial run --config sft.yaml --out x --lose cmrc_f1=2",
        "model.init_args.adapter: run is not an adapter folder (no adapter_config.json in it)",
        "did you mean run/adapter?",
    ),
    usage("corpus", "no file is named", "give some, e.g. semalign corpus train.jsonl"),
    usage("corpus trian.jsonl", "trian.jsonl: no such file", "did you mean train.jsonl or blank.jsonl or"),
    usage("corpus train.jsonl --colums zh", "--colums: there is no such key", "did you mean columns?"),
    usage("corpus train.jsonl --limits long", "--limits: 'long' are no lengths in tokens", "write e.g. 256,512,1024"),
    usage(
        "corpus train.jsonl --splits trian",
        "--splits: 'trian' is not one of train, validation, test for each of the 1",
        "write e.g. --splits train",
    ),
    usage("data flores", "'flores': there is no such data set", "there are sample, sib200, cmrc2018, mitra"),
    usage("data --all", "--all: there is no such flag", "write semalign data NAME"),
    usage("plan", "--config: missing", "give a recipe, e.g. semalign plan --config"),
    usage("plan --config stf.yaml", "--config: there is no file stf.yaml", "check the path, it is relative to the"),
    usage(
        "plan --config sft.yaml --memory 12",
        "--memory: '12' has no unit",
        "write 12GiB, or another of KiB, MiB and GiB",
    ),
    usage("plan --config sft.yaml --memory lots", "--memory: 'lots' is no amount of memory", "write e.g. 12GiB"),
    usage(
        "plan --config sft.yaml --overlay x.yaml",
        "--overlay: nothing is proposed without --memory, e.g. --memory 12GiB",
        "see semalign plan --help",
    ),
    usage("reward-check", "--config: missing", "give a recipe, e.g. semalign reward-check"),
    usage(
        "reward-check --config stf.yaml",
        "--config: there is no file stf.yaml",
        "check the path, it is relative to the",
    ),
    usage("init --base base", "FILE: missing", "see semalign init --help"),
    usage("init train.jsonl", "--base: missing", "see semalign init --help"),
    usage("init trian.jsonl --base base", "trian.jsonl: no such file", "did you mean train.jsonl or"),
    usage("init old.xls --base base", "old.xls: unknown suffix '.xls', a spreadsheet", "convert it: libreoffice"),
    usage("init train.jsonl --base base --out study", "--out: study exists already", "name a new folder, e.g. --out"),
    usage(
        "init train.jsonl --base base --columns zh", "--columns: 'zh' does not name two", "write source first, e.g. zh="
    ),
    usage("init train.jsonl --base base --memory 12", "--memory: '12' has no unit", "write 12GiB, or another of"),
    usage("init train.jsonl --base base --seed -1", "--seed: -1 is no seed", "give a whole number from 0"),
    usage("init train.jsonl --base base --general gone.txt", "gone.txt: no such file", "did you mean"),
    usage("translate nowhere --text x", "there is no folder nowhere", "give the folder of a run"),
    usage("export nowhere --merge", "there is no folder nowhere", "give the folder of a run"),
    usage("export --config typo.yaml", "modle: there is no such key", "did you mean model? (typo.yaml, line 1)"),
    usage("corpus --config typo.yaml", "modle: there is no such key", "did you mean model? (typo.yaml, line 1)"),
    usage(
        f"corpus --config sft.yaml {DATA}.batchsize=4",
        "data.init_args.batchsize: there is no such key",
        "did you mean batch_size?",
    ),
    usage(
        f"frontier run/adapter --config sft.yaml --out x {MODEL}.bse=base",
        "model.init_args.bse: there is no such key",
        "did you mean base?",
    ),
    usage("runs nowhere", "there is no folder nowhere", "give the folder that holds the runs, such as runs"),
    usage("recipes copy quikstart my", "there is no recipe quikstart", "did you mean quickstart?"),
    usage("completion csh", "argument shell: invalid choice: 'csh'", "see semalign completion --help"),
    Mistake(
        "corpus train.jsonl --columns tibetan",
        "--columns: train.jsonl has no column 'tibetan'",
        "its columns are zh, bo",
    ),
    Mistake(
        "corpus train.jsonl --languages tib,chi",
        "--languages: 'tib,chi' names no column",
        "write --languages COLUMN=tib,…, or give",
    ),
    Mistake(
        "corpus train.jsonl --model nowhere/model",
        "--model: no tokenizer can be loaded from 'nowhere/model'",
        "give a folder that holds tokenizer.json",
    ),
    Mistake(
        "corpus paper.pdf",
        "paper.pdf: unknown suffix '.pdf', a document",
        "convert it: pdftotext -enc UTF-8 paper.pdf",
    ),
    Mistake(f"{FIT} {DATA}.train=trian.jsonl", "trian.jsonl: no such file", "did you mean train.jsonl or"),
    Mistake(f"{FIT} {DATA}.train=study", "study: `datasets` cannot load it", "or name one file in it"),
    Mistake(
        f"{FIT} {DATA}.train=empty.jsonl", "empty.jsonl: no rows in it", "check that it was written to the end, or give"
    ),
    Mistake(
        f"{FIT} {DATA}.train=blank.jsonl", "blank.jsonl: no rows in it", "check that it was written to the end, or give"
    ),
    Mistake(f"{FIT} {DATA}.train=header.csv", "header.csv: no rows in it", "or give another file"),
    Mistake(
        f"{FIT} {DATA}.train=broken.jsonl",
        'broken.jsonl:2: not JSON (Expecting value at column 1): \'{"zh": "x", "bo":\'',
        "write one whole object per line",
    ),
    Mistake(
        f"{FIT} {DATA}.train=gbk.csv",
        "gbk.csv:2: not UTF-8 (byte 0xc0)",
        "convert the file: iconv -f <its encoding> -t ",
    ),
    Mistake(
        f"{FIT} {DATA}.train=paper.pdf",
        "paper.pdf: unknown suffix '.pdf', a document",
        "convert it: pdftotext -enc UTF-8 paper.pdf",
    ),
    Mistake(
        f"{FIT} {DATA}.train=old.xls",
        "old.xls: unknown suffix '.xls', a spreadsheet",
        "convert it: libreoffice --headless --convert-",
    ),
    Mistake(
        f"{FIT} {DATA}.train=notes.docx",
        "notes.docx: unknown suffix '.docx', a document",
        "convert it: pandoc --to plain --wrap none not",
    ),
    Mistake(
        f"{FIT} {DATA}.columns.zh=chinese",
        "train.jsonl:1: no column 'chinese' for the field zh",
        "e.g. data.init_args.columns: {zh: zh}",
    ),
    Mistake(
        f"{FIT} {DATA}.task.class_path=Translation {DATA}.task.init_args.target=xx",
        "language: 'xx' is not known",
        "give one of bo, dz, zh",
    ),
    Mistake(
        f"{FIT} {DATA}.task.init_args.trget=bo",
        "data.init_args.task.init_args.trget: there is no such key",
        "did you mean target?",
    ),
    Mistake(
        FIT
        + f' {DATA}.train=[{{"path":"train.jsonl","task":{{"class_path":"Instruction","init_args":{{"sytem":""}}}}}}]',
        "data.init_args.train[0].task.init_args.sytem: there is no such key",
        "did you mean system?",
    ),
    Mistake(
        FIT + f' {DATA}.train=[{{"path":"train.jsonl","task":{{"init_args":{{"system":""}}}}}}]',
        "data.init_args.train[0].task: names no class",
        "add class_path, the name of a Task",
    ),
    Mistake(
        FIT + f' {DATA}.train=[{{"path":"train.jsonl","wieght":1}}]',
        "data.init_args.train[0].wieght: there is no such key",
        "did you mean weight?",
    ),
    Mistake(f"{FIT} {DATA}.batch_size=-4", "data.init_args.batch_size is -4", "give 1 or more"),
    Mistake(f"{FIT} {DATA}.limit=-5", "data.init_args.limit is -5", "give 1 or more"),
    Mistake(
        f"{FIT} {MODEL}.max_new_tokens=0",
        "model.init_args.max_new_tokens: 0 is not a positive whole number",
        "give 1 or more",
    ),
    Mistake(
        f"{FIT} {MODEL}.max_new_tokens=1",
        "train.jsonl: all 40 rows are too long or too short, so nothing is left",
        "raise that limit",
    ),
    Mistake(
        f"{FIT} {MODEL}.micro_batch_tokens=-5",
        "model.init_args.micro_batch_tokens: -5 is not a positive whole number",
        "give 1 or more",
    ),
    Mistake(
        f"{FIT} {MODEL}.lora.r=0",
        "model.init_args.lora: PEFT cannot adapt this base so (`r` should be a posit",
        "change `target_modules`, `r` or `dropout`, wh",
    ),
    Mistake(
        f"{FIT} {MODEL}.lora.dropout=1.5",
        "model.init_args.lora: PEFT cannot adapt this base so (dropout probability",
        "change `target_modules`, `r` or `dropout`",
    ),
    Mistake(
        f"{FIT} {MODEL}.lora.target_modules=[q_prj]",
        "model.init_args.lora: PEFT cannot adapt this base so (it has no layer 'q_prj'",
        "did you mean q_proj?",
    ),
    Mistake(
        f"{FIT} {MODEL}.optimizer=Adamm", "model.init_args.optimizer: there is no class Adamm", "did you mean Adam?"
    ),
    Mistake(
        f"{FIT} {MODEL}.optimizer.init_args.lr=-1",
        "model.init_args.optimizer: Invalid learning rate: -1.0",
        "change its init_args",
    ),
    Mistake(
        f"{FIT} {MODEL}.base=./bsae",
        "model.init_args.base: there is no folder ./bsae",
        "give an existing folder or a hub id such as o",
    ),
    Mistake(
        f"{FIT} {MODEL}.base=run/adapter",
        "model.init_args.base: run/adapter holds an adapter (adapter_config.json), n",
        "give it as model.init_args.adapter, and give ",
    ),
    Mistake(
        f"{FIT} {MODEL}.base=encoder",
        "model.init_args.base: encoder (bert) cannot be run exactly",
        "take a base of a family that docs/architectures.md",
    ),
    Mistake(
        f"{FIT} {MODEL}.base=model.gguf",
        "model.init_args.base: cannot load 'model.gguf'",
        "Give a folder that holds config.json",
    ),
    Mistake(
        f"{FIT} {MODEL}.base=Qwen/Qwen3-4B",
        "model.init_args.base: cannot load 'Qwen/Qwen3-4B'",
        "or a hub id that this machine can reach",
    ),
    Mistake(
        f"{FIT} {MODEL}.adapter=run {MODEL}.lora=null",
        "model.init_args.adapter: run is not an adapter folder (no adapter_config.js",
        "give the `adapter` folder that a finished run",
    ),
    Mistake(
        f"{FIT} {MODEL}.adapter=wide/adapter {MODEL}.lora=null",
        "model.init_args.adapter: wide/adapter does not fit model.init_args.base: base",
        "give the base that the adapter was trained on",
    ),
    Mistake(
        f"{FIT} {MODEL}.adapter=base {MODEL}.lora=null",
        "model.init_args.adapter: base is not an adapter folder (no adapter_config.j",
        "give the `adapter` folder that a finished run",
    ),
    Mistake(
        f"{FIT} --trainer.accelerator=gpu",
        "trainer: No supported gpu backend found!",
        "devices auto, strategy auto; change one of them",
    ),
    Mistake(
        f"{FIT} --trainer.accelerator=gup",
        "trainer: You selected an invalid accelerator name",
        "Available names are: auto,",
    ),
    Mistake(
        f"{FIT} --trainer.devices=0", "trainer: `Trainer(devices='0')` value is not a valid input", "change one of them"
    ),
    Mistake(f"{FIT} --trainer.precision=fp16", "trainer.precision: needs transformer-engine", "bf16-mixed or 32-true"),
    Mistake(f"{FIT} --trainer.max_steps=0", "trainer.max_steps: set it", "or trainer.max_epochs"),
    Mistake(
        f"{FIT} --trainer.logger=CometLogger",
        "CometLogger: comet-ml is not installed",
        "pip install comet-ml, or leave out the settin",
    ),
    Mistake(
        f"{FIT} --trainer.default_root_dir=train.jsonl",
        "trainer.default_root_dir: train.jsonl cannot be written to (File exists)",
        "there is a file of this name where a folder i",
    ),
    Mistake(
        f"{FIT} --trainer.gradient_clip_val=1",
        "trainer.gradient_clip_val: 1",
        "set model.init_args.max_grad_norm instead",
    ),
    Mistake(
        f"{FIT} --ckpt_path=last.ckpt",
        "--ckpt_path: there is no file last.ckpt",
        "give a checkpoint that an earlier run of this",
    ),
    Mistake(
        f"{FIT} --ckpt_path=run/adapter",
        "--ckpt_path: there is no file run/adapter",
        "give a checkpoint that an earlier run of this",
    ),
    Mistake(f"{GRPO} {MODEL}.temperature=0", "model.init_args.temperature: 0.0 gives K equal samples", "use e.g. 0.8"),
    Mistake(
        f"{GRPO} {MODEL}.top_p=2",
        "model.init_args.top_p: 2.0 is no share of probability",
        "give above 0 to 1, e.g. 0.9",
    ),
    Mistake(
        f"{GRPO} {MODEL}.top_k=-1", "model.init_args.top_k: -1 is no number of tokens", "give 0 for all, or 1 or more"
    ),
    Mistake(
        f"{GRPO} {MODEL}.num_generations=1", "model.init_args.num_generations: a group of 1 has no signal", "use e.g. 8"
    ),
    Mistake(
        f"{GRPO} --trainer.callbacks=null",
        "trainer.callbacks: GRPO needs a reward (a gate alone is none)",
        "list e.g. {class_path: SemanticReward, init_a",
    ),
    Mistake(
        f"{GRPO} --trainer.callbacks+=SemanticReward --trainer.callbacks.encoder=base",
        "encoder: 'base' is not a SentenceTransformer but a folder without modules.j",
        "name a folder written by SentenceTransformer.",
    ),
    Mistake(
        "test --config sft.yaml",
        "trainer.callbacks: test would leave nothing",
        "add {class_path: Evaluation, init_args: {language: bo}}",
    ),
    Mistake(
        f"{FIT} --trainer.callbacks+=Evaluation --trainer.callbacks.language=tibetan",
        "language: 'tibetan' is not known",
        "give one of bo, dz, zh, en, za, ug, kk-Arab, ",
    ),
    Mistake(
        f"{FIT} --trainer.callbacks+=DriftProbe --trainer.callbacks.file=none.txt",
        "DriftProbe.file: there is no file none.txt",
        "check the path, it is relative to the working",
    ),
    Mistake(
        "predict --config embedder.yaml", "predict: an encoder writes no text", "use `semalign test` for its scores"
    ),
    Mistake(
        "plan --config embedder.yaml",
        "semalign plan: EmbedderModule trains no policy",
        "an encoder needs 16 bytes per weight",
    ),
    Mistake(
        f"plan --config sft.yaml {MODEL}.base=./bsae",
        "model.init_args.base: there is no folder ./bsae",
        "give an existing folder or a hub id such as o",
    ),
    Mistake(
        "plan --config sft.yaml --memory 1MiB",
        "--memory: 0.0 GiB do not hold this run even one row at a time with recomput",
        "take a smaller model.init_args.base, nf4 weig",
    ),
    Mistake(
        "reward-check --config sft.yaml",
        "--config: the recipe trains SFTModule, which uses no rewards",
        "give a recipe of GRPOModule",
    ),
]
