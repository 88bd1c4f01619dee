//! Recall against throughput and against latency, as SVG.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use shortlist::eval::Point;

/// The points of one index.
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// By ef.
    pub points: Vec<Point>,
}

const SIZE: (u32, u32) = (1180, 520);
/// Recalls that the axis may name. Beyond the last everything is drawn at `MOST`, which is named 1.
const RECALLS: [f64; 14] =
    [0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999];
const MOST: f64 = 4.3;
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 90, 181),
    RGBColor(220, 50, 32),
    RGBColor(0, 128, 96),
    RGBColor(128, 62, 160),
    RGBColor(200, 120, 0),
    RGBColor(90, 90, 90),
];

/// Draws two panels: queries a second, and the 99th percentile, each against recall. The recall axis shows
/// nines: 0.9, 0.99 and 0.999 are equally far apart.
pub fn draw(path: &Path, title: &str, series: &[Series]) -> Result<()> {
    if series.iter().all(|series| series.points.is_empty()) {
        bail!("nothing to plot");
    }
    let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw {}: {error}", path.display());
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let root = root.titled(title, ("sans-serif", 22)).map_err(|error| failed(&error))?;
    let (left, right) = root.split_horizontally(SIZE.0 / 2);
    let qps = Panel { title: "throughput: up is better", unit: "queries a second", value: |point| point.qps };
    let p99 = Panel { title: "latency: down is better", unit: "p99, µs", value: |point| point.p99_us };
    panel(&left, &qps, series).map_err(|error| failed(&error))?;
    panel(&right, &p99, series).map_err(|error| failed(&error))?;
    root.present().map_err(|error| failed(&error))
}

struct Panel {
    title: &'static str,
    unit: &'static str,
    value: fn(&Point) -> f64,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn panel(
    area: &Area<'_>,
    panel: &Panel,
    series: &[Series],
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>> {
    let points = || series.iter().flat_map(|series| &series.points);
    let x = Nines::around(points().map(|point| nines(point.recall)));
    let top = points().map(|point| (panel.value)(point)).fold(0.0, f64::max) * 1.12;
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 17))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(x, 0.0..top.max(1.0))?;
    chart
        .configure_mesh()
        .x_desc("recall (ties count as found)")
        .y_desc(panel.unit)
        .y_label_formatter(&|value| crate::input::grouped(value.round() as u128))
        .x_max_light_lines(0)
        .y_max_light_lines(0)
        .bold_line_style(RGBColor(222, 222, 222))
        .axis_desc_style(("sans-serif", 15))
        .label_style(("sans-serif", 13))
        .draw()?;
    for (place, one) in series.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        let line: Vec<(f64, f64)> =
            one.points.iter().map(|point| (nines(point.recall), (panel.value)(point))).collect();
        chart
            .draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(2)))?
            .label(one.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(line.iter().map(|&at| Circle::new(at, 4, colour.filled())))?;
        let labels = one.points.iter().zip(&line).map(|(point, &at)| {
            let text = format!("ef {}", point.ef);
            EmptyElement::at(at) + Text::new(text, (7, -14), ("sans-serif", 12).into_font().color(&colour))
        });
        chart.draw_series(labels)?;
    }
    if series.len() > 1 {
        chart
            .configure_series_labels()
            .label_font(("sans-serif", 13))
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .draw()?;
    }
    Ok(())
}

/// The recall axis: linear in nines, with ticks at well-known recalls.
struct Nines {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Nines {
    /// An axis around these values, with a margin.
    fn around(values: impl Iterator<Item = f64>) -> Nines {
        let both = |(least, most): (f64, f64), value: f64| (least.min(value), most.max(value));
        let (least, most) = values.fold((MOST, 0.0), both);
        let margin = ((most - least) * 0.08).max(0.1);
        let range = (least - margin).max(0.0)..most + margin * 1.5;
        let ticks =
            RECALLS.into_iter().map(nines).chain([MOST]).filter(|tick| range.contains(tick)).collect();
        Nines { range, ticks }
    }
}

impl Ranged for Nines {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range.clone()).map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Nines {
    fn format_ext(&self, value: &f64) -> String {
        recall_label(*value)
    }
}

/// How many nines a recall has: 0.9 has 1, 0.999 has 3.
fn nines(recall: f64) -> f64 {
    if recall >= 1.0 { MOST } else { (-(1.0 - recall).log10()).clamp(0.0, MOST) }
}

fn recall_label(nines: f64) -> String {
    if nines >= MOST {
        return "1".to_string();
    }
    let recall = 1.0 - 10f64.powf(-nines);
    let text = format!("{recall:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(ef: usize, recall: f64, qps: f64) -> Point {
        Point {
            k: 100,
            ef,
            threads: 1,
            recall,
            qps,
            p50_us: 1e6 / qps,
            p95_us: 1.5e6 / qps,
            p99_us: 2e6 / qps,
            visited: 1.0,
        }
    }

    #[test]
    fn nines_are_named_by_their_recall() {
        for (recall, label) in
            [(0.0, "0"), (0.5, "0.5"), (0.9, "0.9"), (0.998, "0.998"), (0.9999, "0.9999"), (1.0, "1")]
        {
            assert_eq!(recall_label(nines(recall)), label);
        }
    }

    #[test]
    fn a_plot_names_what_it_shows() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("plot.svg");
        let points = vec![point(100, 0.91, 9000.0), point(200, 0.985, 5000.0), point(400, 1.0, 2500.0)];
        draw(&path, "shop", &[Series { name: "ours".to_string(), points }]).expect("drawn");
        let text = std::fs::read_to_string(&path).expect("svg");
        for part in ["shop", "queries a second", "p99", "ef 200", "0.99"] {
            assert!(text.contains(part), "{part}");
        }
        assert!(draw(&path, "none", &[]).is_err());
    }
}
