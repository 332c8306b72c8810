//! Claims about tokenizers: those trained here, and those of published models.

use super::*;
use crate::{Answer, Goal, Problem, PromptStyle, Prompting, encode_example, encode_with_goals, encode_written};

fn texts() -> Vec<String> {
    (0..200)
        .map(|n| {
            format!(
                "Question: Ann has {n} bags of 4 nuts. How many?\nAnswer: {n} * 4 = <<{n}*4={0}>>{0}\n#### {0}\n\n",
                n * 4
            )
        })
        .collect()
}

fn trained() -> Tokenizer {
    Tokenizer::train_bpe(&texts(), 400).unwrap()
}

fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    tokenizer.encode(text).into_iter().map(|id| tokenizer.token_text(id)).collect()
}

/// A folder with a trained tokenizer and files beside it.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), trained().to_json()).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn load(files: &[(&str, &str)]) -> Result<Tokenizer> {
    Tokenizer::load(folder(files).path())
}

#[test]
fn the_same_texts_give_the_same_tokenizer() {
    assert_eq!(trained().to_json(), trained().to_json());
}

#[test]
fn any_text_survives_its_tokens() {
    let tokenizer = trained();
    for text in [
        "",
        " ",
        "\n\n \t x",
        "Ann's 12  bags",
        "naïve ×½ 數 😀👩‍🚀 e\u{301}",
        "don't\r\n",
        "\u{0}\u{7f}",
        " <<1+1=2>> #### ",
    ] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
    }
}

#[test]
fn a_digit_is_the_same_token_wherever_it_stands() {
    let tokenizer = trained();
    assert_eq!(pieces(&tokenizer, "has 12 nuts4"), ["has", " ", "1", "2", " nuts", "4"].map(str::to_owned));
    for text in ["7", " 7", "77", "a7", "$7", "=7", "\n7", "<<7"] {
        assert_eq!(tokenizer.encode(text).last(), tokenizer.encode("7").last(), "{text:?}");
    }
}

#[test]
fn the_marks_of_a_solution_are_single_tokens() {
    let tokenizer = trained();
    let expected = ["4", "*", "2", " =", " <<", "4", "*", "2", "=", "8", ">>", "8", "\n", "####", " ", "8"];
    assert_eq!(pieces(&tokenizer, "4*2 = <<4*2=8>>8\n#### 8"), expected.map(str::to_owned));
}

#[test]
fn the_end_of_text_is_id_0_and_is_not_decoded() {
    let tokenizer = trained();
    assert_eq!(tokenizer.eos_ids(), [0]);
    assert_eq!(tokenizer.pad_id(), 0);
    assert_eq!(tokenizer.token_text(0), END_OF_TEXT);
    assert_eq!(tokenizer.decode(&[0]), "");
    assert!(!tokenizer.encode("Ann").contains(&0));
    assert!(tokenizer.prompt_prefix().is_empty());
}

#[test]
fn the_vocabulary_is_at_most_as_large_as_requested() {
    assert!((257..=400).contains(&trained().vocab_size()));
    assert!(Tokenizer::train_bpe(&texts(), 256).is_err());
    assert_eq!(Tokenizer::train_bpe(&[], 300).unwrap().vocab_size(), 257);
}

#[test]
fn ids_that_are_no_tokens_are_passed_over() {
    let tokenizer = trained();
    let mut ids = tokenizer.encode("Ann");
    ids.insert(0, 1_000_000);
    assert_eq!(tokenizer.decode(&ids), "Ann");
    assert_eq!(tokenizer.token_text(u32::MAX), "");
    assert_eq!(tokenizer.decode(&tokenizer.encode("é")[..1]), "\u{fffd}", "half a character");
}

#[test]
fn what_is_saved_is_loaded_again() {
    let files = [
        (
            "tokenizer_config.json",
            r#"{"bos_token": {"content": "<|endoftext|>"}, "add_bos_token": true, "model_max_length": 5,
                "chat_template": "of the older file"}"#,
        ),
        ("generation_config.json", r#"{"eos_token_id": [7, 0]}"#),
        ("chat_template.jinja", "{{ messages[0].content }}!"),
    ];
    let (first, dir) = (load(&files).unwrap(), tempfile::tempdir().unwrap());
    first.save(dir.path()).unwrap();
    let again = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(again.to_json(), first.to_json());
    assert_eq!(again.eos_ids(), [7, 0]);
    assert_eq!(again.prompt_prefix(), [0]);
    assert_eq!(again.apply_chat_template(None, "Why?").unwrap(), "Why?!");
    assert_eq!(again.inner.config["model_max_length"], 5, "what is not ours is kept");
    trained().save(dir.path()).unwrap();
    assert_eq!(Tokenizer::load(&dir.path().join("tokenizer.json")).unwrap().to_json(), first.to_json());
}

#[test]
fn a_sample_ends_where_its_model_says() {
    let ends = |files: &[(&str, &str)]| load(files).unwrap().eos_ids().to_vec();
    let config = ("tokenizer_config.json", r#"{"eos_token": "a"}"#);
    let a = trained().encode("a")[0];
    assert_eq!(ends(&[]), [0], "a well-known name");
    assert_eq!(ends(&[config]), [a]);
    assert_eq!(ends(&[("tokenizer_config.json", r#"{"eos_token": {"content": "a"}}"#)]), [a]);
    assert_eq!(ends(&[config, ("generation_config.json", r#"{"eos_token_id": 9}"#)]), [9]);
    let list = format!(r#"{{"eos_token_id": [9, {a}]}}"#);
    assert_eq!(ends(&[config, ("generation_config.json", &list)]), [a, 9], "the one to write comes first");
    assert_eq!(ends(&[config, ("generation_config.json", "{}")]), [a]);
    assert_eq!(ends(&[config, ("generation_config.json", r#"{"eos_token_id": null}"#)]), [a]);
}

#[test]
fn a_begin_token_is_written_where_the_configuration_wants_it() {
    let config = r#"{"bos_token": "<|endoftext|>", "add_bos_token": true}"#;
    assert_eq!(load(&[("tokenizer_config.json", config)]).unwrap().prompt_prefix(), [0]);
    assert!(
        load(&[("tokenizer_config.json", r#"{"bos_token": "<|endoftext|>"}"#)]).unwrap().prompt_prefix().is_empty()
    );
}

/// The trained tokenizer with more added tokens, and a post-processor that puts one before a text.
fn with_tokens(names: &[&str], before: Option<&str>) -> Tokenizer {
    let mut json: Value = serde_json::from_str(&trained().to_json()).unwrap();
    let first = trained().vocab_size();
    for (place, name) in names.iter().enumerate() {
        json["added_tokens"]
            .as_array_mut()
            .unwrap()
            .push(json!({"id": first + place, "content": name, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}));
    }
    if let Some(before) = before {
        let id = names.iter().position(|name| *name == before).map_or(0, |place| first + place);
        json["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": before, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {before: {"id": before, "ids": [id], "tokens": [before]},
                END_OF_TEXT: {"id": END_OF_TEXT, "ids": [0], "tokens": [END_OF_TEXT]}},
        });
    }
    Tokenizer::from_json(&json.to_string()).unwrap()
}

#[test]
fn a_begin_token_that_only_the_post_processor_writes_begins_a_prompt() {
    let tokenizer = with_tokens(&["<s>"], Some("<s>"));
    let begin = tokenizer.encode("<s>");
    assert_eq!((tokenizer.prompt_prefix(), begin.len()), (begin.as_slice(), 1));
    // A configuration that says no is believed, and one that names another token and says nothing is not in the way.
    let json = tokenizer.to_json();
    let prefix = |config: &str| {
        let folder = folder(&[("tokenizer_config.json", config)]);
        std::fs::write(folder.path().join("tokenizer.json"), &json).unwrap();
        Tokenizer::load(folder.path()).unwrap().prompt_prefix().to_vec()
    };
    assert_eq!(prefix("{}"), begin);
    assert_eq!(prefix(r#"{"bos_token": "<s>"}"#), begin);
    assert_eq!(prefix(r#"{"add_bos_token": true}"#), begin);
    assert!(prefix(r#"{"bos_token": "<s>", "add_bos_token": false}"#).is_empty());
    assert!(with_tokens(&["<s>"], None).prompt_prefix().is_empty());
    // What is written behind a text alone is no beginning.
    let mut behind: Value = serde_json::from_str(&json).unwrap();
    behind["post_processor"]["single"].as_array_mut().unwrap().remove(0);
    assert!(Tokenizer::from_json(&behind.to_string()).unwrap().prompt_prefix().is_empty());
}

#[test]
fn the_token_with_which_a_chat_template_ends_a_message_is_found() {
    const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}\
                          {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    let end = |template: &str| {
        let json = with_tokens(&["<|im_start|>", "<|im_end|>"], None).to_json();
        let folder = folder(&[(
            "tokenizer_config.json",
            &json!({"eos_token": END_OF_TEXT, "chat_template": template}).to_string(),
        )]);
        std::fs::write(folder.path().join("tokenizer.json"), json).unwrap();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        assert_eq!(tokenizer.eos_ids(), [0]);
        tokenizer.turn_end().map(|id| tokenizer.token_text(id))
    };
    assert_eq!(end(CHATML).as_deref(), Some("<|im_end|>"));
    assert_eq!(end(&CHATML.replace("+ '<|im_end|>'", "+ '\\n<|im_end|>'")).as_deref(), Some("<|im_end|>"));
    assert_eq!(end(&CHATML.replace("'<|im_end|>'", "eos_token")).as_deref(), Some(END_OF_TEXT));
    assert_eq!(end("{% for m in messages %}{{ m.content }}{% endfor %}"), None, "nothing stands there");
    assert_eq!(end("{% for m in messages %}{{ m.content + ' Over.' }}{% endfor %}"), None, "text stands there");
    assert_eq!(end("{{ messages[0].content }}"), None, "the model's message is left out");
    assert_eq!(end("{{ raise_exception('no') }}"), None, "it cannot be rendered");
    assert_eq!(trained().turn_end(), None, "there is no template");
}

/// Llama 3's configurations name the end of a text first, and end a message with another token.
#[test]
fn an_example_ends_as_its_style_ends() {
    let template = "{% for m in messages %}{{ m.content + '<|eot|>' }}{% endfor %}";
    let json = with_tokens(&["<|eot|>"], None).to_json();
    let config = json!({"eos_token": END_OF_TEXT, "chat_template": template}).to_string();
    let folder = folder(&[("tokenizer_config.json", &config)]);
    std::fs::write(folder.path().join("tokenizer.json"), json).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    let [end_of_text, end_of_turn] = [END_OF_TEXT, "<|eot|>"].map(|name| tokenizer.encode(name)[0]);
    for (style, end) in [(PromptStyle::Plain, end_of_text), (PromptStyle::Chat, end_of_turn)] {
        let written = encode_written(&tokenizer, &Prompting::bare(style), "Why?", " 6", true).unwrap();
        let labelled = encode_with_goals(&tokenizer, &style.into(), "Why?", " 6", &[Goal::Good], &[]).unwrap();
        let problem = Problem {
            id: "test/0".into(),
            question: "Why?".into(),
            solution: "6".into(),
            answer: Answer::from_integer(6),
            worked: None,
        };
        let solved = encode_example(&tokenizer, &style.into(), &problem).unwrap();
        assert_eq!([written, labelled, solved].map(|example| *example.tokens.last().unwrap()), [end; 3], "{style:?}");
    }
}

#[test]
fn a_tokenizer_without_an_end_is_refused() {
    let json = trained().to_json().replace(END_OF_TEXT, "<|nothing|>");
    let error = Tokenizer::from_json(&json).err().unwrap();
    assert!(error.to_string().contains("end-of-sequence"), "{error}");
}

#[test]
fn bad_files_are_errors_that_name_them() {
    for (name, text) in [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "["),
        ("tokenizer_config.json", "[]"),
        ("generation_config.json", "nothing"),
        ("generation_config.json", r#"{"eos_token_id": "a"}"#),
        ("generation_config.json", r#"{"eos_token_id": []}"#),
        ("generation_config.json", r#"{"eos_token_id": -1}"#),
    ] {
        let error = format!("{:#}", load(&[(name, text)]).err().unwrap());
        assert!(error.contains(name), "{error}");
    }
    let nowhere = format!("{:#}", Tokenizer::load(Path::new("no/such/folder")).err().unwrap());
    assert!(nowhere.contains("no/such/folder"), "{nowhere}");
    let sentencepiece = folder(&[("tokenizer.model", "")]);
    std::fs::remove_file(sentencepiece.path().join("tokenizer.json")).unwrap();
    assert!(Tokenizer::load(sentencepiece.path()).err().unwrap().to_string().contains("SentencePiece"));
}

#[test]
fn a_length_that_a_file_cuts_to_is_not_kept() {
    let mut json: Value = serde_json::from_str(&trained().to_json()).unwrap();
    json["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    let tokenizer = Tokenizer::from_json(&json.to_string()).unwrap();
    assert_eq!(tokenizer.decode(&tokenizer.encode("Ann has 12 bags")), "Ann has 12 bags");
}

#[test]
fn a_tokenizer_is_shared_between_threads() {
    fn shared<T: Clone + Send + Sync>(_: &T) {}
    shared(&trained());
}

#[test]
fn tokens_within_a_range_of_bytes_are_those_whose_whole_text_lies_in_it() {
    let tokenizer = Tokenizer::train_bpe(&["nuts 6*4 = <<6*4=24>>24 nuts".repeat(9)], 300).unwrap();
    let text = "nuts ä <<6*4=24>>24 nuts";
    let tokens = tokenizer.encode(text);
    let within = |part: &str, shorter: usize| {
        let start = text.find(part).unwrap();
        tokenizer.decode(&tokens[tokenizer.tokens_within(&tokens, start..start + part.len() - shorter)])
    };
    assert_eq!(within("24>>", 0), "24>>");
    assert_eq!(within("nuts", 0), "nuts");
    assert_eq!(within("24>>24 nuts", 0), "24>>24 nuts");
    // A part of a token is none.
    assert_eq!(within("24>>24 nuts", 1), "24>>24");
    assert_eq!(within("uts ä", 0), " ä");
    assert!(tokenizer.tokens_within(&tokens, 3..3).is_empty() && tokenizer.tokens_within(&[], 0..3).is_empty());
}
