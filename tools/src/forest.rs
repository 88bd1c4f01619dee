//! Measures with their intervals, and the differences of two systems, as SVG: a forest plot.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use plotters::coord::Shift;
use plotters::prelude::*;
use shortlist::eval::Estimate;

/// One measure: one line of the plot.
pub struct Bar {
    pub name: String,
    /// A's name and value.
    pub a: (String, Estimate),
    pub b: Option<(String, Estimate)>,
    /// B - A.
    pub difference: Option<Estimate>,
}

const WIDTH: u32 = 1180;
const ROW: u32 = 64;
const A: RGBColor = RGBColor(90, 90, 90);
const B: RGBColor = RGBColor(0, 90, 181);
const MARGIN: RGBColor = RGBColor(225, 236, 225);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

/// Draws the measures on the left and, when two systems are compared, their differences on the right, with the
/// margin within which they do not matter.
pub fn draw(path: &Path, title: &str, bars: &[Bar], margin: f64) -> Result<()> {
    if bars.is_empty() {
        bail!("nothing to plot");
    }
    let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw {}: {error}", path.display());
    let height = 150 + ROW * bars.len() as u32;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let root = root.titled(title, ("sans-serif", 20)).map_err(|error| failed(&error))?;
    if bars.iter().any(|bar| bar.difference.is_some()) {
        let (left, right) = root.split_horizontally(WIDTH * 3 / 5);
        values(&left, bars).map_err(|error| failed(&error))?;
        differences(&right, bars, margin).map_err(|error| failed(&error))?;
    } else {
        values(&root, bars).map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))
}

/// Rows are counted from the top; row i lies at -i.
fn rows(bars: &[Bar]) -> std::ops::Range<f64> {
    0.4 - bars.len() as f64..0.6
}

fn values(area: &Area<'_>, bars: &[Bar]) -> Drawn {
    let top = bars.iter().flat_map(|bar| [bar.a.1.high, bar.b.as_ref().map_or(0.0, |b| b.1.high)]);
    let top = top.fold(0.1, f64::max) * 1.08;
    let mut chart = ChartBuilder::on(area)
        .caption("mean and interval", ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(190)
        .build_cartesian_2d(0.0..top, rows(bars))?;
    chart
        .configure_mesh()
        .disable_y_axis()
        .disable_y_mesh()
        .x_max_light_lines(0)
        .bold_line_style(RGBColor(222, 222, 222))
        .label_style(("sans-serif", 13))
        .draw()?;
    let names: [Option<&String>; 2] = [Some(&bars[0].a.0), bars[0].b.as_ref().map(|b| &b.0)];
    for (side, (name, colour)) in names.into_iter().zip([A, B]).enumerate() {
        let Some(name) = name else { continue };
        let marks = bars.iter().enumerate().filter_map(|(row, bar)| {
            let found = if side == 0 { Some(&bar.a.1) } else { bar.b.as_ref().map(|b| &b.1) };
            Some((-(row as f64) + 0.13 - 0.26 * side as f64, *found?))
        });
        let marks: Vec<(f64, Estimate)> = marks.collect();
        let lines = marks
            .iter()
            .map(|(y, found)| PathElement::new([(found.low, *y), (found.high, *y)], colour.stroke_width(3)));
        chart
            .draw_series(lines)?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        chart
            .draw_series(marks.iter().map(|(y, found)| Circle::new((found.value, *y), 5, colour.filled())))?;
        chart.draw_series(marks.iter().map(|(y, found)| {
            let text = format!("{:.3}", found.value);
            let style = ("sans-serif", 12).into_font().color(&colour);
            EmptyElement::at((found.high, *y)) + Text::new(text, (6, -6), style)
        }))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .label_font(("sans-serif", 13))
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    let plotting = chart.plotting_area();
    for (row, bar) in bars.iter().enumerate() {
        let (x, y) = plotting.map_coordinate(&(0.0, -(row as f64)));
        let (left, above) = area.get_base_pixel();
        let at = (x - left - 180, y - above - 7);
        area.draw(&Text::new(bar.name.clone(), at, ("sans-serif", 14).into_font()))?;
    }
    Ok(())
}

fn differences(area: &Area<'_>, bars: &[Bar], margin: f64) -> Drawn {
    let found: Vec<(f64, Estimate)> =
        bars.iter().enumerate().filter_map(|(row, bar)| Some((-(row as f64), bar.difference?))).collect();
    let ends = found.iter().flat_map(|(_, found)| [found.low.abs(), found.high.abs()]);
    let most = ends.fold(margin, f64::max) * 1.25;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("B - A; within ±{margin} equivalent"), ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(36)
        .build_cartesian_2d(-most..most, rows(bars))?;
    let (low, high) = (rows(bars).start, rows(bars).end);
    chart.draw_series([Rectangle::new([(-margin, low), (margin, high)], MARGIN.filled())])?;
    chart
        .configure_mesh()
        .disable_y_axis()
        .disable_y_mesh()
        .x_labels(5)
        .x_label_formatter(&|x| format!("{:.2}", if x.abs() < 1e-9 { 0.0 } else { *x }))
        .x_max_light_lines(0)
        .bold_line_style(RGBColor(222, 222, 222))
        .label_style(("sans-serif", 13))
        .draw()?;
    chart.draw_series([PathElement::new([(0.0, low), (0.0, high)], BLACK.stroke_width(1))])?;
    chart.draw_series(
        found.iter().map(|(y, one)| PathElement::new([(one.low, *y), (one.high, *y)], B.stroke_width(3))),
    )?;
    chart.draw_series(found.iter().map(|(y, one)| Circle::new((one.value, *y), 5, B.filled())))?;
    chart.draw_series(found.iter().map(|(y, one)| {
        let text = format!("{:+.3}", one.value);
        EmptyElement::at((one.value, *y))
            + Text::new(text, (-14, -22), ("sans-serif", 12).into_font().color(&B))
    }))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_measures_and_systems() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("plot.svg");
        let one = |value| Estimate { value, low: value - 0.01, high: value + 0.02 };
        let bar = |name: &str, compared: bool| Bar {
            name: name.to_owned(),
            a: ("plain".to_owned(), one(0.31)),
            b: compared.then(|| ("shop".to_owned(), one(0.29))),
            difference: compared.then(|| one(-0.02)),
        };
        draw(&path, "two", &[bar("NDCG@10", true), bar("MRR@10", true)], 0.02).expect("drawn");
        let text = std::fs::read_to_string(&path).expect("svg");
        for part in ["two", "NDCG@10", "MRR@10", "plain", "shop", "0.310", "-0.020", "±0.02"] {
            assert!(text.contains(part), "{part}");
        }
        draw(&path, "one", &[bar("NDCG@10", false)], 0.02).expect("drawn");
        assert!(!std::fs::read_to_string(&path).expect("svg").contains("equivalent"));
        assert!(draw(&path, "none", &[], 0.02).is_err());
    }
}
