use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Square {
    of: usize,
    is: usize,
}

fn square(of: usize) -> Square {
    Square { of, is: of * of }
}

fn work(seed: usize) -> Map<String, Value> {
    Map::from_iter([("seed".to_string(), seed.into()), ("samples".to_string(), 8.into())])
}

fn part(text: &str) -> Part {
    text.parse().unwrap()
}

/// Makes squares of 0 to 9, in blocks of two, as far as `until` allows.
fn make(folder: &Path, text: &str, seed: usize, until: usize) -> Result<()> {
    let range = part(text).range(10, 2);
    let mut file = PartFile::open(folder, part(text), range.len(), 2, work(seed))?;
    for of in range.skip(file.lines()).take_while(|of| *of < until) {
        file.write(&[square(of)])?;
    }
    Ok(())
}

fn error(pattern: &Path) -> String {
    format!("{:#}", gather::<Square>(pattern, "a square").err().unwrap())
}

#[test]
fn parts_are_whole_blocks_in_a_row_and_together_all_items() {
    for (items, block, of) in [(10, 2, 3), (10, 3, 4), (10, 4, 7), (0, 5, 2), (7488, 11, 60), (1, 1, 1)] {
        let mut end = 0;
        for number in 1..=of {
            let range = Part { number, of }.range(items, block);
            assert_eq!(range.start, end);
            assert!(range.start.is_multiple_of(block) && (range.end.is_multiple_of(block) || range.end == items));
            end = range.end;
        }
        assert_eq!(end, items);
        // No part has more than one block above the smallest one.
        let blocks = (1..=of).map(|number| Part { number, of }.range(items, block).len().div_ceil(block));
        assert!(blocks.clone().max().unwrap() - blocks.min().unwrap() <= 1);
    }
    for wrong in ["0/3", "4/3", "3", "1/0", "a/b", "-1/3", "1/3/2", ""] {
        assert!(wrong.parse::<Part>().is_err(), "{wrong}");
    }
}

#[test]
fn all_parts_together_are_the_work_in_its_order_and_a_part_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, pattern) = (folder.path().join("parts"), folder.path().join("parts/*.jsonl"));
    make(&folder, "3/3", 1, 10).unwrap();
    make(&folder, "1/3", 1, 10).unwrap();
    make(&folder, "2/3", 1, 5).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
    let two = folder.join("part-2-of-3.jsonl");
    let unfinished = error(&pattern);
    assert!(unfinished.contains("part-2-of-3.jsonl is unfinished, with 3 of 4 lines"), "{unfinished}");
    // Cut within a line, and then within the header.
    let text = fs::read_to_string(&two).unwrap();
    for cut in [text.len() - 3, text.lines().next().unwrap().len() - 1, 0] {
        fs::write(&two, &text[..cut]).unwrap();
        make(&folder, "2/3", 1, 10).unwrap();
        let Gathered { lines, work: found } = gather::<Square>(&pattern, "a square").unwrap();
        assert_eq!(lines, (0..10).map(square).collect::<Vec<_>>());
        assert_eq!((found.as_ref(), work_of_parts(&pattern).unwrap().as_ref()), (Some(&work(1)), Some(&work(1))));
    }
    // A finished part stays as it is.
    let before = fs::read(&two).unwrap();
    make(&folder, "2/3", 1, 10).unwrap();
    assert_eq!(fs::read(&two).unwrap(), before);
}

#[test]
fn missing_foreign_double_and_locked_parts_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, pattern) = (folder.path(), folder.path().join("*.jsonl"));
    assert!(error(&pattern).contains("no file has such a name"));
    assert!(error(&folder.join("none.jsonl")).contains("cannot read"));
    make(folder, "2/4", 1, 10).unwrap();
    let missing = error(&pattern);
    assert!(missing.contains("lacks parts: make them with --part 1/4, 3/4, 4/4"), "{missing}");
    let (two, other) = (folder.join("part-2-of-4.jsonl"), folder.join("again.jsonl"));
    fs::copy(&two, &other).unwrap();
    let twice = error(&pattern);
    assert!(twice.contains("again.jsonl") && twice.contains("part-2-of-4.jsonl are the same part"), "{twice}");
    fs::remove_file(&other).unwrap();
    // Of another seed, and of another number of parts.
    let foreign = format!("{:#}", make(folder, "2/4", 7, 10).unwrap_err());
    assert!(foreign.contains("part-2-of-4.jsonl is a part of other work: seed is 1, and 7"), "{foreign}");
    let elsewhere = tempfile::tempdir().unwrap();
    make(elsewhere.path(), "1/4", 7, 10).unwrap();
    fs::copy(elsewhere.path().join("part-1-of-4.jsonl"), folder.join("a.jsonl")).unwrap();
    assert!(error(&pattern).ends_with("are parts of different work: seed is 7, and 1"), "{}", error(&pattern));
    fs::remove_file(folder.join("a.jsonl")).unwrap();
    make(folder, "1/2", 1, 10).unwrap();
    assert!(error(&pattern).contains("are parts of different work: of 2 parts, and of 4"), "{}", error(&pattern));
    fs::remove_file(folder.join("part-1-of-2.jsonl")).unwrap();
    // Beside a file that is no part.
    fs::write(folder.join("samples.jsonl"), "{\"of\":2,\"is\":4}\n").unwrap();
    let no_part = error(&pattern);
    assert!(no_part.contains("samples.jsonl is not a part that --part has written"), "{no_part}");
    fs::rename(folder.join("samples.jsonl"), folder.join("part-3-of-4.jsonl")).unwrap();
    assert!(format!("{:#}", make(folder, "3/4", 1, 10).unwrap_err()).contains("is not a part that --part has written"));
    let held = PartFile::open(folder, part("4/4"), 4, 2, work(1)).unwrap();
    let locked = format!("{:#}", make(folder, "4/4", 1, 10).unwrap_err());
    assert!(locked.contains("another process is writing") && locked.contains("part-4-of-4.jsonl"), "{locked}");
    drop(held);
    make(folder, "4/4", 1, 10).unwrap();
}

#[test]
fn one_file_needs_no_header_and_its_name_may_look_like_a_pattern() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("squares[1].jsonl");
    fs::write(&file, "{\"of\":2,\"is\":4}\n\n{\"of\":3,\"is\":9}\n").unwrap();
    let found = gather::<Square>(&file, "a square").unwrap();
    assert_eq!((found.lines, found.work), (vec![square(2), square(3)], None));
    assert_eq!(work_of_parts(&file).unwrap(), None);
    fs::write(&file, "{\"of\":2,\"is\":4}\n[]\n").unwrap();
    assert!(error(&file).contains("squares[1].jsonl, line 2: not a square"), "{}", error(&file));
}
