//! Tables of pairs that are equal and of pairs that are not, by kind: numbers, constants, expressions, equations.

use super::*;

pub(super) fn check(equal: bool, pairs: &[(&str, &str)]) {
    let is_wrong = |(one, other): &&(&str, &str)| {
        let (left, right) = (parsed(one), parsed(other));
        left.equals(&right) != equal || right.equals(&left) != equal
    };
    let wrong: Vec<_> = pairs.iter().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "not {}: {wrong:?}", if equal { "equal" } else { "different" });
}

#[test]
fn numbers_are_equal_as_numbers() {
    check(
        true,
        &[
            ("72", "72.00"),
            ("0.5", r"\frac{1}{2}"),
            (".5", r"\dfrac12"),
            ("-3/4", r"-\tfrac{3}{4}"),
            (r"\frac{-3}{4}", r"-\frac{3}{4}"),
            (r"3\frac{1}{2}", "3.5"),
            (r"3 1/2", r"\frac72"),
            (r"-2\frac13", r"-\frac{7}{3}"),
            ("1,234,567", "1234567"),
            (r"1{,}234", "1234"),
            (r"1,\!234", "1234"),
            (r"1\,000", "1000"),
            ("10 000", "10000"),
            (r"\$5{,}000", "5000"),
            ("€20", "20"),
            (r"3.5\times10^{4}", "35000"),
            (r"1.5e-3", r"1.5 \cdot 10^{-3}"),
            (r"0.\overline{3}", r"\frac13"),
            (r"1.1\overline{6}", r"\frac{7}{6}"),
            (r"2^{10}", "1024"),
            ("5!", "120"),
            (r"\binom{10}{3}", "120"),
            (r"{5 \choose 2}", "10"),
            ("½", "0.5"),
            (r"\left(\frac{2}{3}\right)^{2}", r"\frac{4}{9}"),
            ("+7", "7"),
            ("123456789012345678901234567890", "123456789012345678901234567890.0"),
            (r"2^{2009}", r"2\cdot 2^{2008}"),
            (r"9^{9^9}", r"9 \cdot 9^{9^9-1}"),
        ],
    );
    check(
        false,
        &[
            ("72", "73"),
            ("0.5", "0.51"),
            ("3", "-3"),
            (r"3\frac12", r"\frac32"),
            ("1,234", "1, 234"),
            ("123456789012345678901234567890", "123456789012345678901234567891"),
            ("99999999999999999.5", "99999999999999998.5"),
            (r"2^{2009}", r"2^{2008}"),
            (r"9^{9^9}", r"9^{9^9}+1"),
            ("100!", "100! + 1"),
            ("1e-9", "2e-9"),
        ],
    );
}

#[test]
fn a_decimal_equals_what_rounds_to_its_six_decimals() {
    check(
        true,
        &[("0.333333", r"\frac13"), ("1.414214", r"\sqrt2"), ("3.141593", r"\pi"), ("2.4142136", r"1+\sqrt{2}")],
    );
    check(
        false,
        &[
            ("0.333", r"\frac13"),
            ("1.4142", r"\sqrt2"),
            ("3.14", r"\pi"),
            ("0.000000001", "0.000000002"),
            ("0.0000004", "0"),
            ("0.333333x", r"\frac{x}{3}"),
        ],
    );
}

#[test]
fn constants_are_compared_by_their_values() {
    check(
        true,
        &[
            (r"\sqrt{12}", r"2\sqrt3"),
            (r"\frac{1}{\sqrt2}", r"\frac{\sqrt{2}}{2}"),
            (r"\sqrt{2}\cdot\sqrt{3}", r"\sqrt{6}"),
            (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}"),
            (r"\sqrt[3]{-8}", "-2"),
            (r"\sqrt[3]{54}", r"3\sqrt[3]{2}"),
            (r"8^{2/3}", "4"),
            (r"\frac{\pi}{4}", r"0.25\pi"),
            (r"e^{i\pi}", "-1"),
            (r"(1+i)^2", "2i"),
            (r"\frac{1}{1+i}", r"\frac{1-i}{2}"),
            (r"\sin\frac{\pi}{6}", r"\frac12"),
            (r"\sin 30^\circ", "0.5"),
            (r"\cos^2 1 + \sin^2 1", "1"),
            (r"\arctan 1", r"\frac{\pi}{4}"),
            (r"\sin^{-1}(1)", r"\pi/2"),
            (r"\log_2 8", "3"),
            (r"\log 1000", "3"),
            (r"\ln e^2", "2"),
            (r"\ln 8", r"3\ln2"),
            (r"|-5|", "5"),
            (r"\lfloor 3.7\rfloor", "3"),
            (r"\lceil \pi \rceil", "4"),
            (r"\max(3,5)", "5"),
            (r"\gcd(12,18)", "6"),
            (r"\infty", r"+\infty"),
            ("√3", r"\sqrt{3}"),
            ("sqrt(3)/2", r"\frac{\sqrt3}{2}"),
        ],
    );
    check(
        false,
        &[
            (r"\sqrt{12}", r"3\sqrt2"),
            (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5}"),
            (r"\sqrt{1141}", "33.779"),
            (r"\pi", r"\frac{22}{7}"),
            (r"\pi", "e"),
            ("2i", "-2i"),
            (r"3+4i", r"4+3i"),
            (r"\infty", r"-\infty"),
            (r"\log_2 8", r"\log_8 2"),
            (r"\sin 30", r"\frac12"),
            (r"10^{12}\sqrt{2}", r"(10^{12}+1)\sqrt{2}"),
            (r"\frac{1}{0}", "0"),
        ],
    );
}

#[test]
fn percent_degrees_and_units_may_be_left_out() {
    check(
        true,
        &[
            (r"10\%", "10"),
            (r"10\%", "0.1"),
            ("10 percent", r"10\%"),
            (r"90^\circ", "90"),
            (r"90^{\circ}", "90 degrees"),
            (r"60^\circ", r"\frac{\pi}{3}"),
            (r"5\text{ cm}", "5"),
            ("5 cm", r"5\mathrm{~cm}"),
            (r"12\text{ square inches}", "12"),
            (r"15\mbox{ cm}^2", "15"),
            (r"80\ \text{m}/\text{s}", "80"),
            ("5 centimeters", "5 cm"),
            (r"8\pi\text{ feet}", r"8\pi"),
        ],
    );
    check(
        false,
        &[
            (r"10\%", "1"),
            (r"90^\circ", r"80^\circ"),
            ("5 cm", "5 m"),
            ("3 hours", "3 minutes"),
            (r"5\text{ cm}^2", r"5\text{ cm}^3"),
            ("6m", "6"),
        ],
    );
}

#[test]
fn expressions_are_equal_for_all_values_of_their_variables() {
    check(
        true,
        &[
            ("x^2+2x+1", "(x+1)^2"),
            (r"\frac{x^2-1}{x-1}", "x+1"),
            (r"\frac{1}{2}x", "x/2"),
            ("1/(2x)", r"\frac{1}{2x}"),
            (r"2\sin x\cos x", r"\sin 2x"),
            (r"e^{2x}", r"(e^x)^2"),
            (r"\sqrt{x^2}", "|x|"),
            (r"\ln(x^2+1)^3", r"(\ln(x^2+1))^3"),
            (r"x^{1/3}", r"\sqrt[3]{x}"),
            ("a_1+a_2", "a_{2}+a_{1}"),
            (r"\frac{c}{a}", "c/a"),
            (r"\binom{2n}{n}", r"\binom{2n}{n}"),
            (r"x(x-7)(x+1)", r"x^3-6x^2-7x"),
            (r"\frac{\sin x}{\cos x}", r"\tan x"),
            ("(x+1)^{100}", "(1+x)^{99}(x+1)"),
        ],
    );
    check(
        false,
        &[
            ("x^2+2x+1", "(x-1)^2"),
            ("x", "y"),
            ("x", "X"),
            (r"\sqrt{x^2}", "x"),
            (r"\sin x", r"\cos x"),
            ("123456789012345x", "123456789012346x"),
            ("x^{100}", "x^{101}"),
            ("a_1", "a_2"),
            ("x+1", "x"),
            ("x", "1"),
        ],
    );
}

#[test]
fn equations_state_values_and_are_equal_up_to_a_factor() {
    check(
        true,
        &[
            ("x=5", "5"),
            ("5=x", "x = 5"),
            ("y=2x+3", "2x+3"),
            ("f(x)=x^2", "x^2"),
            ("(x,y)=(1,2)", "(1,2)"),
            ("|AB|=3", "3"),
            ("AB=3", "3"),
            (r"x = 2+3 = 5", "5"),
            (r"x \approx 3.5", "3.5"),
            (r"6\cdot 7 = 42", "42"),
            (r"\frac13 \approx 0.33", r"\frac13"),
            ("y=2x+3", "2x-y+3=0"),
            ("x^2+y^2=1", "2x^2+2y^2=2"),
            ("2x+4y=3", r"y=-\frac{x}{2}+\frac34"),
            (r"x=\pm2", "x=2 or x=-2"),
            (r"1\pm\sqrt{3}", r"1-\sqrt3, 1+\sqrt3"),
            ("a=1, b=2", "b=2, a=1"),
            ("a=1, b=2", "1, 2"),
            ("n=1, 2, 3", "3, 2, 1"),
            (r"x=1 \text{ or } x=2", "1, 2"),
        ],
    );
    check(
        false,
        &[
            ("x=5", "x=6"),
            ("x=5", "y=5"),
            ("x^2-4=0", "0"),
            ("xy=1", "1"),
            ("x=e^{e^3}", "x=e^{e^3}+1"),
            ("f(0)=3", "g(0)=3"),
            ("f(0)", "0"),
            (r"6\cdot 7 = 43", "43"),
            ("2x+1=5", "5"),
            ("a=1, b=2", "2, 1"),
            ("y=2x+3", "y=2x-3"),
            (r"\pm 2", "2"),
            ("x^2=4", "x=2"),
            (r"\sin^2x + \cos^2x = 1", "y = x"),
        ],
    );
}
