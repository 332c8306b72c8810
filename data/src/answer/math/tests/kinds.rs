//! Tables of pairs that are equal and of pairs that are not, by kind: sets, points, matrices, bases, words.

use super::pairs::check;

#[test]
fn intervals_and_inequalities_are_sets_of_numbers() {
    check(
        true,
        &[
            (r"(-\infty,3]\cup[5,\infty)", r"[5,+\infty)\cup(-\infty,3]"),
            (r"\left[\frac12,1\right]", "[0.5,1]"),
            ("x>3", r"(3,\infty)"),
            ("3<x", "x>3"),
            (r"2<x\le5", "(2,5]"),
            (r"5 \geq x > 2", "2<x<=5"),
            (r"x\in(3,\infty)", "x>3"),
            (r"x\in[0,1]", "[0,1]"),
            ("2x>6", "x>3"),
            ("-x<-3", "x>3"),
            (r"x\ne 3", r"(-\infty,3)\cup(3,\infty)"),
            (r"\mathbb{R}\setminus\{3\}", r"x \neq 3"),
            (r"x<1\text{ or }x>2", r"(-\infty,1)\cup(2,\infty)"),
            (r"x>1\text{ and }x<2", "(1,2)"),
            (r"\{x \mid x>3\}", "x>3"),
            (r"\mathbb{R}", r"(-\infty,\infty)"),
            (r"(0,1)\cup\{1\}", "(0,1]"),
            (r"(0,1)\cup(1,2)\cup\{1\}", "(0,2)"),
            ("x+y>3", "y+x>3"),
        ],
    );
    check(
        false,
        &[
            ("(1,2)", "[1,2]"),
            ("(1,2]", "[1,2)"),
            ("x>3", "x<3"),
            ("x>3", r"x\ge3"),
            ("x>3", "y>3"),
            (r"(-\infty,3)", r"(-\infty,3]"),
            (r"(0,1)\cup(1,2)", "(0,2)"),
            (r"x<1\text{ or }x>2", "(1,2)"),
            ("x^2>4", "x>2"),
            ("[1,2]", "1"),
        ],
    );
}

#[test]
fn points_keep_their_order_and_sets_do_not() {
    check(
        true,
        &[
            ("(1,2)", r"\left(1,\ 2\right)"),
            (r"(\frac12,3)", "(0.5,3)"),
            ("1,2,3", "3, 2, 1"),
            ("1, 2, and 3", "3,2,1"),
            (r"\{1,2,3\}", "3,2,1"),
            (r"\{1,1,2\}", r"\{2,1\}"),
            (r"\{5\}", "5"),
            ("(1,2),(3,4)", "(3,4),(1,2)"),
            ("(1,2,3)", "1,2,3"),
            (r"\emptyset", r"\{\}"),
            ("2;3", "2,3"),
            (r"\langle 1,2\rangle", "(1,2)"),
            (r"27^\circ, 63^\circ", r"63^\circ, 27^\circ"),
            ("27,54,108,135", "135,108,54,27"),
        ],
    );
    check(
        false,
        &[
            ("(1,2)", "(2,1)"),
            ("1,2", "1,3"),
            ("1,2", "1,2,3"),
            ("1,1,2", "1,2"),
            ("(1,2,3)", "3,2,1"),
            (r"\{1,2\}", "(2,1)"),
            ("(1,2),(3,4)", "(2,1),(3,4)"),
            ("1,2", "12"),
        ],
    );
}

#[test]
fn matrices_are_equal_entry_by_entry() {
    check(
        true,
        &[
            (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
            (r"\begin{pmatrix} 1/2 \\ 0.5 \end{pmatrix}", r"\begin{pmatrix} \frac12 \\ \frac12 \end{pmatrix}"),
            (r"\left[\begin{array}{cc}1&0\\0&1\end{array}\right]", r"\begin{pmatrix}1&0\\0&1\end{pmatrix}"),
            (r"\frac12\begin{pmatrix}2\\4\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
            (r"\begin{pmatrix}1\\2\end{pmatrix}+\begin{pmatrix}1\\1\end{pmatrix}", r"\begin{pmatrix}2\\3\end{pmatrix}"),
        ],
    );
    check(
        false,
        &[
            (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&5\end{pmatrix}"),
            (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
            (r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
            (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
        ],
    );
}

#[test]
fn bases_and_ratios_are_numbers_of_their_own() {
    check(
        true,
        &[
            ("123_7", "123_{7}"),
            ("123_7", "123"),
            ("123_7", "66_{10}"),
            ("1:2", "2:4"),
            ("1:2", r"\frac12"),
            ("a:b", "2a:2b"),
        ],
    );
    check(false, &[("123_7", "66"), ("123_7", "123_8"), ("123_7", "124_7"), ("1:2", "2:1"), ("1:2:3", "1:2:4")]);
}

#[test]
fn words_are_equal_without_case_and_marks() {
    check(
        true,
        &[
            (r"\text{even}", "even"),
            (r"\text{Monday}", "monday"),
            (r"\text{(B)}", "B"),
            (r"\textbf{(E)}", r"\text{E}"),
            (r"\text{C, F, H}", "F, C, H"),
            (r"\text{4:30 p.m.}", r"4:30 \text{ p.m.}"),
            (r"\text{13}", "13"),
            ("No solution.", "no solution"),
            (r"1 - \frac{1}{\mathrm{e}}", r"1-\frac1e"),
        ],
    );
    check(
        false,
        &[
            (r"\text{even}", "odd"),
            (r"\text{(B)}", "C"),
            ("12:00", "1:00"),
            (r"\text{4:30 p.m.}", r"4:30 \text{ a.m.}"),
            (r"\text{A}", r"\text{B}"),
        ],
    );
}

#[test]
fn what_is_not_understood_equals_itself_alone() {
    check(true, &[(r"\int_0^1 x\,dx", r"\int_{0}^{1}x dx"), (r"\sum_{k=1}^n k", r"\sum_{k=1}^{n} k")]);
    check(false, &[(r"\sum_{k=1}^n k", r"\sum_{k=0}^n k"), (r"\int_0^1 x dx", r"\frac12")]);
    assert!(!super::parsed(r"\sum_{k=1}^n k").is_understood());
}
