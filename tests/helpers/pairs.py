"""Chinese-Tibetan sentence pairs and a chat template, for fixtures."""

WORDS = {"老师": "དགེ་རྒན་", "学生": "སློབ་མ་", "农民": "ཞིང་པ་", "医生": "སྨན་པ་"}
VERBS = {"看书": "དཔེ་ཆ་བལྟས།", "吃饭": "ཁ་ལག་བཟས།", "唱歌": "གླུ་བླངས།", "写信": "ཡི་གེ་བྲིས།"}
PLACES = {"学校": "སློབ་གྲྭར་", "家里": "ནང་ལ་", "山上": "རི་ལ་"}
PAIRS = [
    {"zh": f"{a}在{p}{v}。", "bo": f"{WORDS[a]}{PLACES[p]}{VERBS[v]}"} for a in WORDS for p in PLACES for v in VERBS
]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
