//! What goes to standard output, in the form that was asked for; notes go to standard error.

use std::env;
use std::io::{self, IsTerminal as _, Write};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use serde_json::Value;

use super::chart::Charset;
use super::failure::Failure;

/// Columns of a table that is not written to a terminal.
const DEFAULT_WIDTH: u16 = 100;

/// A terminal that says it is narrower does not know its width.
const LEAST_WIDTH: u16 = 40;

/// Columns of text between two columns of a table.
const GAP: u16 = 2;

/// The form of what a command answers: tables for people, or JSON for programs, one object a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

impl Format {
    /// The form asked for, or the one that suits the reader.
    fn or_suitable(asked: Option<Format>, terminal: bool) -> Format {
        asked.unwrap_or(if terminal { Format::Table } else { Format::Json })
    }
}

/// Names and values of one thing, in the order they are shown.
pub(super) type Fields = Vec<(&'static str, String)>;

/// A thing that can be shown in either form.
pub(super) trait Resource {
    /// The thing for programs: fields named as in the API, times in RFC 3339, enums by their short names,
    /// null for what is unset.
    fn json(&self) -> Value;
    /// The thing for people.
    fn fields(&self) -> Fields;
}

/// A thing that can be one row of a table.
pub(super) trait Row: Resource {
    /// Titles of the columns. The first holds what names the thing and is never broken.
    const COLUMNS: &'static [&'static str];
    /// One cell for each column.
    fn cells(&self) -> Vec<String>;
}

/// What charts and tables are drawn on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canvas {
    /// Columns of text.
    pub(super) width: usize,
    pub(super) charset: Charset,
}

/// An answer to a question: for people a page with charts and tables.
pub(super) trait Report {
    /// The answer for programs: fields named as in the API.
    fn json(&self) -> Value;
    /// The answer for people.
    fn page(&self, canvas: Canvas) -> String;
}

/// Standard output, or a stand-in for it.
pub(super) struct Output<W: Write = io::Stdout> {
    format: Format,
    writer: W,
    /// Fixed for what is not a terminal; a terminal is asked each time.
    width: Option<u16>,
    charset: Charset,
}

impl Output {
    /// Standard output in the form asked for.
    pub(super) fn new(asked: Option<Format>) -> Self {
        let writer = io::stdout();
        let terminal = writer.is_terminal();
        let width = (!terminal).then_some(DEFAULT_WIDTH);
        let charset = Charset::suitable(terminal, |name| env::var_os(name));
        Output { format: Format::or_suitable(asked, terminal), writer, width, charset }
    }
}

impl<W: Write> Output<W> {
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Shows one thing.
    pub(super) fn one(&mut self, resource: &impl Resource) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.line(&resource.json().to_string()),
            Format::Table => self.line(&aligned(&resource.fields())),
        }
    }

    /// Shows some things: a table with its titles, or a line each.
    pub(super) fn many<R: Row>(&mut self, rows: &[R]) -> Result<(), Failure> {
        match self.format {
            Format::Json => rows.iter().try_for_each(|row| self.line(&row.json().to_string())),
            Format::Table if rows.is_empty() => Ok(()),
            Format::Table => self.line(&Sheet::of(rows).drawn(self.canvas().width)),
        }
    }

    /// Shows an answer.
    pub(super) fn report(&mut self, report: &impl Report) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.line(&report.json().to_string()),
            Format::Table => self.line(&report.page(self.canvas())),
        }
    }

    fn canvas(&self) -> Canvas {
        let width = self.width.or_else(|| Table::new().width());
        let width = width.filter(|width| *width >= LEAST_WIDTH).unwrap_or(DEFAULT_WIDTH);
        Canvas { width: width.into(), charset: self.charset }
    }

    /// Writes the text and a newline.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.writer, "{text}").and_then(|()| self.writer.flush()).map_err(Failure::Output)
    }
}

/// Tells people something beside the result. Nobody may be listening, which is no fault.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The fields one a line, their values below each other.
pub(super) fn aligned(fields: &Fields) -> String {
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name:<width$}  {value}").trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// A table without lines.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    /// Titles of the columns. The first holds what names the row and is never broken.
    pub(super) columns: Vec<&'static str>,
    /// Which of them are numbers, below each other at their last digit.
    pub(super) numbers: Vec<usize>,
    /// One cell for each column, in each row.
    pub(super) rows: Vec<Vec<String>>,
}

impl Sheet {
    fn of<R: Row>(rows: &[R]) -> Self {
        let rows = rows.iter().map(Row::cells).collect();
        Sheet { columns: R::COLUMNS.to_vec(), numbers: Vec::new(), rows }
    }

    /// How wide one more column may be in a table of that width.
    pub(super) fn left_of(&self, width: usize) -> usize {
        let cells = |at: usize| self.rows.iter().filter_map(move |row| row.get(at));
        let longest = |(at, title): (usize, &&str)| {
            let cells = cells(at).map(|cell| cell.chars().count());
            cells.max().unwrap_or(0).max(title.chars().count()) + usize::from(GAP)
        };
        let taken: usize = self.columns.iter().enumerate().map(longest).sum();
        width.saturating_sub(taken + usize::from(GAP))
    }

    /// The table, as wide as that at most.
    pub(super) fn drawn(&self, width: usize) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(&self.columns);
        table.add_rows(&self.rows);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        for at in &self.numbers {
            if let Some(column) = table.column_mut(*at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        if let Some(first) = table.column_mut(0) {
            first.set_constraint(ColumnConstraint::ContentWidth);
        }
        table.trim_fmt()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{self, Write};

    use serde_json::{Value, json};

    use super::{Canvas, Fields, Format, Output, Report, Resource, Row, Sheet};
    use crate::cli::chart::Charset;
    use crate::cli::failure::Failure;

    impl<W: Write> Output<W> {
        /// Output to `writer`, 80 columns wide.
        pub(in crate::cli) fn to(format: Format, writer: W) -> Self {
            Output { format, writer, width: Some(80), charset: Charset::Unicode }
        }
    }

    /// What `Output::one` writes.
    pub(in crate::cli) fn shown(format: Format, resource: &impl Resource) -> String {
        let mut bytes = Vec::new();
        Output::to(format, &mut bytes).one(resource).expect("is written");
        String::from_utf8(bytes).expect("is text")
    }

    /// What `Output::many` writes.
    pub(in crate::cli) fn listed<R: Row>(format: Format, rows: &[R]) -> String {
        let mut bytes = Vec::new();
        Output::to(format, &mut bytes).many(rows).expect("is written");
        String::from_utf8(bytes).expect("is text")
    }

    /// What `Output::report` writes.
    pub(in crate::cli) fn reported(format: Format, report: &impl Report) -> String {
        let mut bytes = Vec::new();
        Output::to(format, &mut bytes).report(report).expect("is written");
        String::from_utf8(bytes).expect("is text")
    }

    struct Fruit(&'static str, u32);

    impl Resource for Fruit {
        fn json(&self) -> Value {
            json!({"name": self.0, "count": self.1})
        }

        fn fields(&self) -> Fields {
            vec![("name", self.0.to_owned()), ("how many", self.1.to_string())]
        }
    }

    impl Row for Fruit {
        const COLUMNS: &'static [&'static str] = &["NAME", "COUNT"];

        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), self.1.to_string()]
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn people_get_tables_and_programs_json_unless_they_ask() {
        assert_eq!(Format::or_suitable(None, true), Format::Table);
        assert_eq!(Format::or_suitable(None, false), Format::Json);
        assert_eq!(Format::or_suitable(Some(Format::Json), true), Format::Json);
        assert_eq!(Format::or_suitable(Some(Format::Table), false), Format::Table);
    }

    #[test]
    fn one_thing_is_aligned_fields_or_one_line_of_json() {
        let pear = Fruit("pear", 3);
        assert_eq!(shown(Format::Table, &pear), "name      pear\nhow many  3\n");
        assert_eq!(shown(Format::Json, &pear), "{\"name\":\"pear\",\"count\":3}\n");
    }

    #[test]
    fn many_things_are_a_table_or_a_line_each() {
        let fruits = [Fruit("pear", 3), Fruit("pomegranate", 12)];
        assert_eq!(
            listed(Format::Table, &fruits),
            "NAME         COUNT\npear         3\npomegranate  12\n"
        );
        assert_eq!(
            listed(Format::Json, &fruits),
            "{\"name\":\"pear\",\"count\":3}\n{\"name\":\"pomegranate\",\"count\":12}\n"
        );
        assert_eq!(listed::<Fruit>(Format::Table, &[]), "");
    }

    impl Report for Fruit {
        fn json(&self) -> Value {
            Resource::json(self)
        }

        fn page(&self, canvas: Canvas) -> String {
            format!("{} of {}", canvas.width, self.0)
        }
    }

    #[test]
    fn a_report_is_a_page_or_one_line_of_json() {
        assert_eq!(reported(Format::Table, &Fruit("pear", 3)), "80 of pear\n");
        assert_eq!(reported(Format::Json, &Fruit("pear", 3)), "{\"name\":\"pear\",\"count\":3}\n");
    }

    #[test]
    fn numbers_stand_below_each_other_and_what_is_left_is_known() {
        let row = |name: &str, count: &str| vec![name.to_owned(), count.to_owned()];
        let rows = vec![row("pear", "3"), row("fig", "1,204")];
        let sheet = Sheet { columns: vec!["NAME", "COUNT"], numbers: vec![1], rows };
        assert_eq!(sheet.drawn(80), "NAME  COUNT\npear      3\nfig   1,204");
        assert_eq!((sheet.left_of(80), sheet.left_of(10)), (80 - 6 - 7 - 2, 0));
    }

    #[test]
    fn a_closed_pipe_is_a_failure_and_no_panic() {
        let failed = Output::to(Format::Json, Closed).one(&Fruit("pear", 3));
        assert!(
            matches!(failed, Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe)
        );
    }
}
