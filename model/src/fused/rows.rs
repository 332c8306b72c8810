//! Fused operations on rows of numbers: RMSNorm, SwiGLU, log-probability of a chosen token, and their gradients.
//!
//! Plain slices in and out. A loop that carries a sum keeps [`LANES`] of them, which the compiler turns into vectors; the
//! order of additions is the same on every machine.

use pulp::Arch;

/// Partial sums of a reduction.
const LANES: usize = 16;

/// e^x within 2 units in the last place; 2^-126 below -87.3, and never more than 2^127.9.
///
/// x = n ln 2 + r with |r| at most ln 2 / 2, and a polynomial in r (coefficients of Cephes' `expf`). Without a branch, so
/// that a loop over it becomes vectors; `f32::exp` is a call of the C library for every number.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.3, 88.7);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let y = p * r * r + r + 1.0;
    f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// Sets the numbers of M rows, place by place, from those of N rows: a vector at a time, and the rest one by one.
#[inline(always)]
pub(super) fn each<const M: usize, const N: usize>(
    mut out: [&mut [f32]; M],
    inputs: [&[f32]; N],
    f: impl Fn([f32; N]) -> [f32; M],
) {
    const VECTOR: usize = 8;
    let length = out[0].len();
    let whole = length / VECTOR * VECTOR;
    for start in (0..whole).step_by(VECTOR) {
        let inputs: [&[f32; VECTOR]; N] = inputs.map(|x| x[start..start + VECTOR].try_into().expect("as long"));
        let mut results = [[0.0; VECTOR]; M];
        for lane in 0..VECTOR {
            let of_lane = f(inputs.map(|x| x[lane]));
            for (results, result) in results.iter_mut().zip(of_lane) {
                results[lane] = result;
            }
        }
        for (out, results) in out.iter_mut().zip(results) {
            out[start..start + VECTOR].copy_from_slice(&results);
        }
    }
    for place in whole..length {
        for (out, result) in out.iter_mut().zip(f(inputs.map(|x| x[place]))) {
            out[place] = result;
        }
    }
}

/// Sum of a term over the places of N rows.
#[inline(always)]
pub(super) fn sum<const N: usize>(inputs: [&[f32]; N], term: impl Fn([f32; N]) -> f32) -> f32 {
    let length = inputs[0].len();
    let whole = length / LANES * LANES;
    let mut sums = [0.0f32; LANES];
    for start in (0..whole).step_by(LANES) {
        let inputs: [&[f32; LANES]; N] = inputs.map(|x| x[start..start + LANES].try_into().expect("as long"));
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += term(inputs.map(|x| x[lane]));
        }
    }
    for (place, sum) in (whole..length).zip(&mut sums) {
        *sum += term(inputs.map(|x| x[place]));
    }
    fold(sums, |x, y| x + y)
}

/// One number of all lanes, halves at a time: a chain of additions would take longer than the rest of a short row.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], of: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = of(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn maximum(row: &[f32]) -> f32 {
    let larger = |x: f32, y: f32| if y > x { y } else { x };
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (maximum, &x) in maxima.iter_mut().zip(chunk) {
            *maximum = larger(*maximum, x);
        }
    }
    for (maximum, &x) in maxima.iter_mut().zip(rest) {
        *maximum = larger(*maximum, x);
    }
    fold(maxima, larger)
}

/// Softmax of a row in place.
#[inline(always)]
pub(super) fn softmax(row: &mut [f32]) {
    let largest = maximum(row);
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    let mut sums = [0.0f32; LANES];
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *x = exp(*x - largest);
            *sum += *x;
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *x = exp(*x - largest);
        *sum += *x;
    }
    let inverse = 1.0 / fold(sums, |x, y| x + y);
    for x in row {
        *x *= inverse;
    }
}

/// x / sqrt(mean(x²) + ε) · w, rows as wide as `scale`.
pub(super) fn rms_norm(x: &[f32], scale: &[f32], epsilon: f32) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (x, out) in x.chunks_exact(scale.len()).zip(out.chunks_exact_mut(scale.len())) {
                let inverse = inverse_root_mean_square(x, epsilon);
                each([out], [x, scale], |[x, scale]| [x * inverse * scale]);
            }
        },
    );
    out
}

/// The gradients of [`rms_norm`] by x and by the scale, given that by its output.
pub(super) fn rms_norm_backward(x: &[f32], scale: &[f32], epsilon: f32, grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let width = scale.len();
    let (mut by_x, mut by_scale) = (vec![0.0; x.len()], vec![0.0; width]);
    let mut before = vec![0.0; width];
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let rows = x.chunks_exact(width).zip(grad.chunks_exact(width)).zip(by_x.chunks_exact_mut(width));
            for ((x, grad), by_x) in rows {
                let inverse = inverse_root_mean_square(x, epsilon);
                let along = sum([x, grad, scale], |[x, grad, scale]| x * grad * scale);
                let shrink = inverse * inverse * inverse * along / width as f32;
                before.copy_from_slice(&by_scale);
                each([by_x, &mut by_scale], [x, grad, scale, &before], |[x, grad, scale, before]| {
                    [grad * scale * inverse - x * shrink, before + grad * x * inverse]
                });
            }
        },
    );
    (by_x, by_scale)
}

#[inline(always)]
fn inverse_root_mean_square(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (sum([x], |[x]| x * x) / x.len() as f32 + epsilon).sqrt()
}

/// silu(gate) · up of rows that hold `width` numbers of the gate, then as many of up.
pub(super) fn swiglu(gate_up: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0.0; gate_up.len() / 2];
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (row, out) in gate_up.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
                let (gate, up) = row.split_at(width);
                each([out], [gate, up], |[gate, up]| [gate * up / (1.0 + exp(-gate))]);
            }
        },
    );
    out
}

/// The gradient of [`swiglu`] by its input, given that by its output.
pub(super) fn swiglu_backward(gate_up: &[f32], width: usize, grad: &[f32]) -> Vec<f32> {
    let mut by_input = vec![0.0; gate_up.len()];
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let rows = gate_up.chunks_exact(2 * width).zip(by_input.chunks_exact_mut(2 * width));
            for ((row, by_row), grad) in rows.zip(grad.chunks_exact(width)) {
                let ((gate, up), (by_gate, by_up)) = (row.split_at(width), by_row.split_at_mut(width));
                each([by_gate, by_up], [gate, up, grad], |[gate, up, grad]| {
                    let sigmoid = 1.0 / (1.0 + exp(-gate));
                    [grad * up * sigmoid * (1.0 + gate * (1.0 - sigmoid)), grad * gate * sigmoid]
                });
            }
        },
    );
    by_input
}

/// log softmax(z / temperature) at one target per row.
pub(super) fn token_log_probs(logits: &[f32], targets: &[usize], temperature: f32) -> Vec<f32> {
    let width = logits.len() / targets.len().max(1);
    let inverse = 1.0 / temperature;
    let mut out = vec![0.0; targets.len()];
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for ((row, &target), out) in logits.chunks_exact(width.max(1)).zip(targets).zip(&mut out) {
                let largest = maximum(row);
                let total = sum([row], |[z]| exp((z - largest) * inverse));
                *out = (row[target] - largest) * inverse - total.ln();
            }
        },
    );
    out
}

/// The gradient of [`token_log_probs`] by the logits, given that by its output and the output itself.
pub(super) fn token_log_probs_backward(
    logits: &[f32],
    targets: &[usize],
    temperature: f32,
    log_probs: &[f32],
    grad: &[f32],
) -> Vec<f32> {
    let width = (logits.len() / targets.len().max(1)).max(1);
    let inverse = 1.0 / temperature;
    let mut by_logits = vec![0.0; logits.len()];
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let rows = logits.chunks_exact(width).zip(by_logits.chunks_exact_mut(width));
            for (((row, by_row), &target), (&log_prob, &grad)) in rows.zip(targets).zip(log_probs.iter().zip(grad)) {
                // log of the sum of exponentials, from what the forward pass has found of the target.
                let normaliser = row[target] * inverse - log_prob;
                let factor = -grad * inverse;
                each([&mut *by_row], [row], |[z]| [factor * exp(z * inverse - normaliser)]);
                by_row[target] += grad * inverse;
            }
        },
    );
    by_logits
}

/// Draws one token per row: the first whose cumulative probability at the temperature exceeds the row's uniform number, or the
/// likeliest where the temperature is 0. With it the token's log-probability at temperature 1.
pub(super) fn sample(logits: &[f32], temperature: f32, uniforms: &[f32]) -> (Vec<u32>, Vec<f32>) {
    let width = logits.len() / uniforms.len().max(1);
    let mut weights = vec![0.0; width];
    let (mut tokens, mut log_probs) = (Vec::with_capacity(uniforms.len()), Vec::with_capacity(uniforms.len()));
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (row, &uniform) in logits.chunks_exact(width.max(1)).zip(uniforms) {
                let largest = maximum(row);
                let mut weigh = |temperature: f32| {
                    let inverse = 1.0 / temperature;
                    each([&mut weights], [row], |[z]| [exp((z - largest) * inverse)]);
                    weights.chunks(LANES).map(|chunk| sum([chunk], |[weight]| weight)).sum::<f32>()
                };
                let total = weigh(1.0);
                let token = if temperature == 0.0 {
                    row.iter().position(|&z| z == largest).unwrap_or(0)
                } else {
                    let total = if temperature == 1.0 { total } else { weigh(temperature) };
                    draw(&weights, uniform * total)
                };
                tokens.push(token as u32);
                log_probs.push(row[token] - largest - total.ln());
            }
        },
    );
    (tokens, log_probs)
}

/// The first place at which the sum of the weights so far exceeds `threshold`; the last that has a weight where rounding
/// lets none exceed it.
#[inline(always)]
fn draw(weights: &[f32], threshold: f32) -> usize {
    let mut passed = 0.0;
    for (index, chunk) in weights.chunks(LANES).enumerate() {
        let of_chunk = sum([chunk], |[weight]| weight);
        if passed + of_chunk > threshold {
            let mut inside = passed;
            for (lane, weight) in chunk.iter().enumerate() {
                inside += weight;
                if inside > threshold {
                    return index * LANES + lane;
                }
            }
        }
        passed += of_chunk;
    }
    weights.iter().rposition(|&weight| weight > 1e-30).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_two_units_in_the_last_place() {
        let mut worst = 0;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let distance = exp(x).to_bits().abs_diff((f64::from(x).exp() as f32).to_bits());
            worst = worst.max(distance);
        }
        assert!(worst <= 2, "{worst} units");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1.3e-38 && exp(-1e9) < 1.3e-38);
        assert!(exp(1e9) > 3e38 && exp(1e9).is_finite());
    }

    #[test]
    fn sums_take_every_number_once_whatever_the_length() {
        for length in [0, 1, 15, 16, 17, 50] {
            let row: Vec<f32> = (0..length).map(|i| i as f32).collect();
            let total = (0..length).sum::<usize>() as f32;
            assert_eq!(sum([&row], |[x]| x), total);
            assert_eq!(sum([&row, &vec![2.0; length]], |[x, y]| x * y), 2.0 * total);
            let mut doubled = vec![0.0; length];
            each([&mut doubled], [&row], |[x]| [2.0 * x]);
            assert!(doubled.iter().zip(&row).all(|(y, x)| *y == 2.0 * x));
            assert_eq!(maximum(&row), if length == 0 { f32::NEG_INFINITY } else { length as f32 - 1.0 });
        }
    }
}
