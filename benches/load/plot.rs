//! Small line plots in one PNG, as far as a bench needs them: points over a logarithmic axis, each with its figures.

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// One plot.
pub(crate) struct Plot<'a> {
    /// What is shown; not in the picture.
    pub(crate) title: &'a str,
    /// Values by how many keys there are.
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: usize = 460;
const HEIGHT: usize = 260;
/// Around the lines.
const LEFT: f64 = 40.0;
const TOP: f64 = 60.0;
const RIGHT: f64 = 70.0;
const BOTTOM: f64 = 40.0;

const WHITE: u8 = 255;
const BLACK: u8 = 0;
const GREY: u8 = 170;

/// Letters of figures: five rows of three bits, drawn at twice that size.
const GLYPHS: [(char, [u8; 5]); 13] = [
    ('0', [7, 5, 5, 5, 7]),
    ('1', [2, 6, 2, 2, 7]),
    ('2', [7, 1, 7, 4, 7]),
    ('3', [7, 1, 7, 1, 7]),
    ('4', [5, 5, 7, 1, 1]),
    ('5', [7, 4, 7, 1, 7]),
    ('6', [7, 4, 7, 5, 7]),
    ('7', [7, 1, 1, 1, 1]),
    ('8', [7, 5, 7, 5, 7]),
    ('9', [7, 5, 7, 1, 7]),
    ('.', [0, 0, 0, 0, 2]),
    ('k', [4, 5, 6, 5, 5]),
    ('M', [5, 7, 7, 5, 5]),
];

/// Shades of grey, row by row.
struct Canvas {
    width: usize,
    height: usize,
    shades: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Canvas { width, height, shades: vec![WHITE; width * height] }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "points of a plot")]
    fn dot(&mut self, x: f64, y: f64, shade: u8) {
        let (x, y) = (x.round().max(0.0) as usize, y.round().max(0.0) as usize);
        if x < self.width && y < self.height {
            self.shades[y * self.width + x] = shade;
        }
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), shade: u8) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
        let mut step = 0.0;
        while step <= steps {
            let share = step / steps;
            let at = |from: f64, to: f64| from + (to - from) * share;
            self.dot(at(from.0, to.0), at(from.1, to.1), shade);
            step += 1.0;
        }
    }

    fn text(&mut self, x: f64, y: f64, text: &str) {
        for (n, letter) in text.chars().enumerate() {
            let rows =
                GLYPHS.iter().find(|(of, _)| *of == letter).map_or([0; 5], |(_, rows)| *rows);
            for (row, column) in (0..10).flat_map(|row| (0..6).map(move |column| (row, column))) {
                if rows[row / 2] >> (2 - column / 2) & 1 == 1 {
                    self.dot(x + (n * 8 + column) as f64, y + row as f64, BLACK);
                }
            }
        }
    }
}

/// A figure in few letters.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1}M", value / 1e6),
        value if value >= 1e4 => format!("{:.0}k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

fn draw(canvas: &mut Canvas, top: f64, plot: &Plot<'_>) {
    let (least, most) = (plot.points[0].0.log10(), plot.points[plot.points.len() - 1].0.log10());
    let highest = plot.points.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let (width, height) = (WIDTH as f64 - LEFT - RIGHT, HEIGHT as f64 - TOP - BOTTOM);
    let floor = top + TOP + height;
    let place = |(keys, value): (f64, f64)| {
        let along = (keys.log10() - least) / (most - least).max(f64::MIN_POSITIVE);
        (LEFT + along * width, floor - value / highest * height)
    };
    canvas.line((LEFT, floor), (LEFT + width, floor), GREY);
    for pair in plot.points.windows(2) {
        canvas.line(place(pair[0]), place(pair[1]), BLACK);
    }
    for point in &plot.points {
        let (x, y) = place(*point);
        for off in [-2.0, -1.0, 0.0, 1.0, 2.0] {
            canvas.line((x - 2.0, y + off), (x + 2.0, y + off), BLACK);
        }
        canvas.text(x, y - 14.0, &short(point.1));
        canvas.text(x, floor + 8.0, &short(point.0));
    }
}

/// Writes the plots, one below the other.
pub(crate) fn write(path: &Path, plots: &[Plot<'_>]) -> std::io::Result<()> {
    let mut canvas = Canvas::new(WIDTH, HEIGHT * plots.len());
    for (n, plot) in plots.iter().enumerate() {
        draw(&mut canvas, (n * HEIGHT) as f64, plot);
    }
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in canvas.shades.chunks(canvas.width) {
        // As it is: no filter.
        rows.write_all(&[0])?;
        rows.write_all(row)?;
    }
    let side = |pixels: usize| u32::try_from(pixels).expect("small").to_be_bytes();
    let mut head = [side(canvas.width), side(canvas.height)].concat();
    // Eight bits of grey, deflated, filtered by row, not interlaced.
    head.extend_from_slice(&[8, 0, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", head), (b"IDAT", rows.finish()?), (b"IEND", Vec::new())] {
        png.extend_from_slice(&u32::try_from(data.len()).expect("short").to_be_bytes());
        let checked = [&kind[..], &data].concat();
        png.extend_from_slice(&checked);
        png.extend_from_slice(&crc32fast::hash(&checked).to_be_bytes());
    }
    std::fs::write(path, png)
}
