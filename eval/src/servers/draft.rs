//! A completion under way on a server: tokens that it chose, and tokens that it is given. Follows the rules of [`model::generate`] to the
//! token. Pure.

use model::{Completion, Finish, Given, Giver};

/// What a completion is bounded by and given.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    /// Maximum number of tokens.
    pub(super) max_new_tokens: usize,
    /// Tokens that the model can read, the prompt included.
    pub(super) context: usize,
    /// Sequences that end a completion.
    pub(super) stops: &'a [Vec<u32>],
    /// What is given after chosen tokens.
    pub(super) giver: Option<&'a Giver>,
    /// The only tokens after which something may be given: a server stops there.
    pub(super) pauses: &'a [u32],
}

/// A completion under way.
pub(super) struct Draft<'a> {
    rules: Rules<'a>,
    /// Prompt, completion, and hidden given tokens, in the order in which the model reads them.
    pub(super) read: Vec<u32>,
    /// Places in it of the tokens that were chosen.
    pub(super) chosen: Vec<usize>,
    pub(super) completion: Completion,
    is_over: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(prompt: &[u32], rules: Rules<'a>) -> Self {
        let completion = Completion {
            tokens: Vec::new(),
            log_probs: Vec::new(),
            given: Vec::new(),
            finish: Finish::Length,
            server_log_probs: Some(Vec::new()),
        };
        Self { rules, read: prompt.to_vec(), chosen: Vec::new(), completion, is_over: false }
    }

    /// Most tokens that may be written next.
    pub(super) fn left(&self) -> usize {
        let Rules { max_new_tokens, context, .. } = self.rules;
        if self.is_over {
            return 0;
        }
        (max_new_tokens - self.completion.tokens.len()).min(context.saturating_sub(self.read.len()))
    }

    /// Takes over what a server wrote, up to the first place where the completion ends or is given something. `stopped`: it ended by itself.
    pub(super) fn extend(&mut self, tokens: &[u32], log_probs: &[f32], stopped: bool) {
        for (&token, &log_prob) in tokens.iter().zip(log_probs) {
            if self.choose(token, log_prob) || self.left() == 0 {
                return;
            }
        }
        if stopped && tokens.last().is_some_and(|last| self.rules.pauses.contains(last)) {
            return;
        }
        // A text that ends a completion may be written in other tokens, and a server may have a shorter context.
        self.is_over = true;
        if stopped {
            self.completion.finish = Finish::Stop;
        }
    }

    /// Writes a chosen token, and what is given after it; whether anything is.
    fn choose(&mut self, token: u32, log_prob: f32) -> bool {
        self.chosen.push(self.read.len());
        self.put(token);
        let log_probs = self.completion.server_log_probs.get_or_insert_default();
        log_probs.push(log_prob);
        let Some(giver) = self.rules.giver.filter(|_| !self.is_over) else { return false };
        match giver.after(&self.completion.tokens) {
            None => return false,
            Some(Given::Hidden(tokens)) => self.read.extend(tokens),
            Some(Given::Shown(tokens)) => self.give(&tokens),
            Some(Given::InPlaceOfLast(tokens)) => {
                log_probs.pop();
                self.chosen.pop();
                self.completion.tokens.pop();
                self.read.pop();
                self.give(&tokens);
            }
        }
        true
    }

    /// Writes given tokens, as far as there is room.
    fn give(&mut self, tokens: &[u32]) {
        for &token in tokens.iter().take(self.left()) {
            if self.is_over {
                break;
            }
            let place = self.completion.tokens.len();
            match self.completion.given.last_mut() {
                Some(last) if last.end == place => last.end += 1,
                _ => self.completion.given.push(place..place + 1),
            }
            self.put(token);
        }
    }

    /// Adds a token to the completion, which may end it.
    fn put(&mut self, token: u32) {
        self.read.push(token);
        self.completion.tokens.push(token);
        if self.rules.stops.iter().any(|stop| self.completion.tokens.ends_with(stop)) {
            self.completion.finish = Finish::Stop;
            self.is_over = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(giver: Option<&Giver>) -> Rules<'_> {
        const STOPS: &[Vec<u32>] = &[];
        Rules { max_new_tokens: 8, context: 64, stops: STOPS, giver, pauses: &[3, 6, 9] }
    }

    #[test]
    fn what_comes_after_a_stop_is_not_part_of_the_completion() {
        let stops = [vec![0], vec![7, 8]];
        let mut draft = Draft::new(&[1, 2], Rules { stops: &stops, ..rules(None) });
        draft.extend(&[8, 7, 8, 5], &[-0.1, -0.2, -0.3, -0.4], true);
        assert_eq!(draft.completion.tokens, [8, 7, 8]);
        assert_eq!(draft.completion.server_log_probs.as_deref(), Some([-0.1, -0.2, -0.3].as_slice()));
        assert_eq!((draft.completion.finish, draft.left()), (Finish::Stop, 0));
    }

    #[test]
    fn a_token_may_be_given_after_another_or_in_its_place() {
        // After 3 the tokens 4 and 5 are given; 6 is taken back for 4.
        let giver = Giver::new(|written| match written.last()? {
            3 => Some(Given::Shown(vec![4, 5])),
            6 => Some(Given::InPlaceOfLast(vec![4])),
            9 => Some(Given::Hidden(vec![2])),
            _ => None,
        });
        let mut draft = Draft::new(&[1], rules(Some(&giver)));
        // What the server wrote after the place where something is given belongs to another text.
        draft.extend(&[7, 3, 7, 7], &[-1.0, -2.0, -3.0, -3.0], true);
        assert_eq!((draft.read.as_slice(), draft.left()), ([1, 7, 3, 4, 5].as_slice(), 4));
        draft.extend(&[9], &[-4.0], true);
        assert_eq!(draft.read, [1, 7, 3, 4, 5, 9, 2], "a hidden token is read");
        draft.extend(&[6], &[-5.0], true);
        assert_eq!(draft.chosen, [1, 2, 5], "of what is read");
        let Completion { tokens, given, server_log_probs, finish, .. } = &draft.completion;
        assert_eq!(tokens, &[7, 3, 4, 5, 9, 4]);
        assert_eq!(given, &[2..4, 5..6]);
        assert_eq!(server_log_probs.as_deref(), Some([-1.0, -2.0, -4.0].as_slice()));
        assert_eq!(*finish, Finish::Length);
        draft.extend(&[7, 7], &[-1.0, -1.0], false);
        assert_eq!((draft.left(), draft.completion.finish, draft.completion.tokens.len()), (0, Finish::Length, 8));
    }

    #[test]
    fn a_server_that_ends_early_ends_the_completion() {
        let mut draft = Draft::new(&[1], rules(None));
        draft.extend(&[7], &[-1.0], false);
        assert_eq!((draft.left(), draft.completion.finish), (0, Finish::Length));
        let mut draft = Draft::new(&[1], rules(None));
        draft.extend(&[7, 9], &[-1.0, -1.0], true);
        assert_eq!(draft.left(), 6, "it stopped where something might have been given");
        draft.extend(&[7], &[-1.0], true);
        assert_eq!((draft.left(), draft.completion.finish), (0, Finish::Stop));
    }
}
