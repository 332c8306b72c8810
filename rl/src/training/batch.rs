//! Rows of tokens to padded tensors. Padding is on the right and known by lengths, never by token ids.

use burn::tensor::{Tensor, TensorData};
use model::{Device, Padded};
use std::ops::Range;

/// A training row: a prompt and a response.
pub trait Row {
    /// Prompt and response, end-of-sequence token included where it was written.
    fn tokens(&self) -> &[u32];
    /// How many of the tokens are the prompt; at least 1.
    fn prompt_len(&self) -> usize;

    /// Positions after the prompt whose tokens were given and do not belong to the response.
    fn given(&self) -> &[Range<usize>] {
        &[]
    }

    /// Positions of the response tokens: all after the prompt that were not given.
    fn response(&self) -> impl Iterator<Item = usize> {
        (self.prompt_len()..self.tokens().len()).filter(|place| !self.given().iter().any(|given| given.contains(place)))
    }

    /// Number of response tokens.
    fn response_len(&self) -> usize {
        self.tokens().len() - self.prompt_len() - self.given().iter().map(Range::len).sum::<usize>()
    }

    /// The number of terms in the row's loss, by the sum of which the loss of a batch is divided: one per response token, unless it says
    /// otherwise.
    fn loss_terms(&self) -> usize {
        self.response_len()
    }
}

impl Row for data::Example {
    fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    fn given(&self) -> &[Range<usize>] {
        &self.given
    }
}

/// Maximum share of padding in a micro-batch.
const MAX_PADDING: f64 = 0.05;

/// Sorts rows by length and cuts them into micro-batches of at most `rows` rows, and of fewer where more than
/// a twentieth would be padding. Returns the indices of the rows of each.
pub fn micro_batches<R: Row>(batch: &[R], rows: usize) -> Vec<Vec<usize>> {
    let length = |index: usize| batch[index].tokens().len();
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by_key(|&index| length(index));
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for index in order {
        tokens += length(index);
        match parts.last_mut() {
            Some(part)
                if part.len() < rows
                    && tokens as f64 >= (1.0 - MAX_PADDING) * (length(index) * (part.len() + 1)) as f64 =>
            {
                part.push(index);
            }
            _ => {
                parts.push(vec![index]);
                tokens = length(index);
            }
        }
    }
    parts
}

/// Number of response tokens of rows.
pub fn response_tokens<R: Row>(rows: &[R]) -> usize {
    rows.iter().map(Row::response_len).sum()
}

/// Share of computed positions that are padding, for rows cut by [`micro_batches`].
pub fn padding_share<R: Row>(batch: &[R], rows: usize) -> f64 {
    let (mut used, mut computed) = (0, 0);
    for part in micro_batches(batch, rows) {
        let lengths: Vec<usize> = part.iter().map(|&index| batch[index].tokens().len()).collect();
        used += lengths.iter().sum::<usize>();
        computed += lengths.iter().max().unwrap_or(&0) * lengths.len();
    }
    (computed - used) as f64 / computed.max(1) as f64
}

/// Pads rows on the right and finds their response tokens.
///
/// # Panics
/// If a row has no prompt: nothing would predict its first token.
pub fn pad<R: Row>(rows: &[&R], device: &Device) -> Padded {
    let responses: Vec<Vec<usize>> = rows.iter().map(|row| row.response().collect()).collect();
    Padded::of(&rows.iter().map(|row| row.tokens()).collect::<Vec<_>>(), &responses, device)
}

/// Values that belong to the response tokens of rows, end to end, as `[M]`.
pub fn flat<'a>(rows: impl Iterator<Item = &'a [f32]>, device: &Device) -> Tensor<1> {
    let values: Vec<f32> = rows.flatten().copied().collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Int;
    use data::Example;
    use model::{ModelConfig, ModelSize, Transformer, score, to_host, token_log_probs};

    fn example(tokens: &[u32], prompt_len: usize) -> Example {
        Example::new(tokens.to_vec(), prompt_len)
    }

    fn ids<const D: usize>(tensor: Tensor<D, Int>) -> Vec<i64> {
        tensor.into_data().convert::<i64>().try_to_vec().unwrap()
    }

    #[test]
    fn rows_of_similar_length_share_a_micro_batch_and_none_is_lost() {
        let rows = [50, 20, 90, 20, 52, 51].map(|length| example(&vec![1; length], 1));
        assert_eq!(micro_batches(&rows, 2), [vec![1, 3], vec![0, 5], vec![4], vec![2]]);
        assert_eq!(micro_batches(&rows, 100), [vec![1, 3], vec![0, 5, 4], vec![2]]);
        assert!(micro_batches::<Example>(&[], 4).is_empty());
    }

    #[test]
    fn a_response_token_is_predicted_from_the_position_before_it() {
        let (first, second) = (example(&[10, 11, 12, 13], 2), example(&[20, 21], 1));
        let batch = pad(&[&first, &second], &Device::default());
        assert_eq!(batch.tokens.dims(), [2, 4]);
        assert_eq!(ids(batch.tokens), [10, 11, 12, 13, 20, 21, 0, 0]);
        assert_eq!(ids(batch.targets), [12, 13, 21]);
        assert_eq!(ids(batch.positions), [1, 2, 4]);
    }

    #[test]
    fn a_token_equal_to_the_padding_is_trained_on_where_it_belongs_to_the_row() {
        let (first, second) = (example(&[7, 0, 0], 1), example(&[7, 8, 9, 0], 1));
        let batch = pad(&[&first, &second], &Device::default());
        assert_eq!(ids(batch.targets), [0, 0, 8, 9, 0]);
    }

    #[test]
    #[should_panic(expected = "row 1 of a batch has no prompt")]
    fn a_row_without_a_prompt_is_an_error() {
        pad(&[&example(&[1, 2], 1), &example(&[1, 2], 0)], &Device::default());
    }

    #[test]
    fn the_share_of_padding_counts_the_positions_beyond_the_rows() {
        let rows = [38, 40, 60].map(|length| example(&vec![1; length], 1));
        assert_eq!(response_tokens(&rows), 135);
        assert_eq!(padding_share(&rows, 1), 0.0);
        // Rectangles of 2 x 40 and 1 x 60 for 138 tokens.
        assert!((padding_share(&rows, 2) - 2.0 / 140.0).abs() < 1e-12);
        assert_eq!(padding_share::<Example>(&[], 2), 0.0);
    }

    #[test]
    fn scores_are_the_log_probabilities_of_the_response_tokens() {
        let config =
            ModelConfig { hidden_size: 16, intermediate_size: 24, ..ModelConfig::of_size(ModelSize::Tiny, 20, 0) };
        let device = Device::default();
        let model = Transformer::init(&config, 1, &device);
        let rows = [example(&[3, 1, 4, 1, 5, 9], 2), example(&[2, 6, 5], 1)];
        for temperature in [1.0, 0.5] {
            let scored = score(&model, &pad(&[&rows[0], &rows[1]], &device), temperature);
            assert_eq!(scored.hidden.dims(), [6, 16]);
            let mut expected = Vec::new();
            for row in &rows {
                let tokens: Vec<i32> = row.tokens.iter().map(|&id| id as i32).collect();
                let time = tokens.len();
                let tokens: Tensor<2, Int> = Tensor::from_data(TensorData::new(tokens, [1, time]), &device);
                let logits = model.forward(tokens.clone()).reshape([time, 20]).narrow(0, 0, time - 1);
                let targets = tokens.reshape([time]).narrow(0, 1, time - 1);
                let log_probs = to_host(token_log_probs(logits, targets, temperature)).values;
                expected.extend_from_slice(&log_probs[row.prompt_len - 1..]);
            }
            let found = to_host(scored.log_probs).values;
            let difference = found.iter().zip(&expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(found.len() == expected.len() && difference < 1e-5, "{difference:e}");
        }
    }
}
