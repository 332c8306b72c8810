//! What an exhibit is in all its forms. Markdown tables are written by hand: `comfy-table` pads its columns, which makes a change of one
//! cell a change of every line.

use crate::results::Cell;
use anyhow::{Context, Result};
use std::{fs, path::Path};

/// An exhibit in all its forms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// For people.
    pub markdown: String,
    /// For programs.
    pub csv: String,
    /// A drawing.
    pub svg: Option<String>,
}

impl Rendered {
    /// Writes all forms into a folder, as `NAME.md`, `NAME.csv` and `NAME.svg`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, name: &str, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let write = |extension: &str, text: &str| eval::write_whole(&folder.join(format!("{name}.{extension}")), text);
        write("md", &self.markdown)?;
        write("csv", &self.csv)?;
        self.svg.as_ref().map_or(Ok(()), |svg| write("svg", svg))
    }
}

impl Cell {
    /// For people: the mean, and half of the interval where there is one.
    pub fn shown(&self, digits: usize) -> String {
        let Cell { mean, half_width, .. } = self;
        match *half_width > 0.0 {
            true => format!("{mean:.digits$} ± {half_width:.digits$}"),
            false => format!("{mean:.digits$}"),
        }
    }

    /// For programs: a line of a CSV file, with the mean, half of the interval and the number of seeds after the first columns.
    pub fn csv_line(&self, first: &[&str]) -> String {
        let numbers = [format!("{:.5}", self.mean), format!("{:.5}", self.half_width), self.seeds.to_string()];
        csv_line(&[first, &numbers.each_ref().map(String::as_str)].concat())
    }
}

/// A cell for people; a dash where there is none.
pub fn cell_or_dash(cell: Option<Cell>, digits: usize) -> String {
    cell.map_or("—".into(), |cell| cell.shown(digits))
}

/// The line below the heads of a Markdown table of so many columns.
pub fn rule(columns: usize) -> String {
    format!("|{}", " --- |".repeat(columns))
}

/// A line of a CSV file; a cell with a comma or a quotation mark is quoted (RFC 4180).
pub fn csv_line(cells: &[&str]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells).expect("a vector takes all that is written");
    String::from_utf8(writer.into_inner().expect("a vector takes all that is written")).expect("cells are text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_with_a_comma_or_a_quotation_mark_is_quoted() {
        assert_eq!(csv_line(&["EI, K = 4", "say \"5\"", "0.5", ""]), "\"EI, K = 4\",\"say \"\"5\"\"\",0.5,\n");
        assert_eq!(rule(2), "| --- | --- |");
    }
}
