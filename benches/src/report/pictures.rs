//! Draws the pictures.

use super::Report;
use crate::device::Kind as Device;
use crate::load::Kind as Load;
use crate::measure::Outcome;
use crate::ways;
use anyhow::{Result, anyhow};
use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, EmptyElement, PathElement, Rectangle, Text};
use plotters::series::LineSeries;
use plotters::style::{Color, FontTransform, IntoFont, RGBColor, ShapeStyle, WHITE};
use plotters_svg::SVGBackend;
use std::path::Path;
use std::slice;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Lists the ways that are drawn as lines, with their colours: ours in blue and green.
const LINES: [(&str, RGBColor); 9] = [
    (ways::RAW, RGBColor(31, 119, 180)),
    (ways::QUEUE, RGBColor(0, 60, 140)),
    (ways::DRIVER, RGBColor(44, 160, 44)),
    (ways::LIBAIO, RGBColor(120, 120, 120)),
    (ways::URING, RGBColor(255, 127, 14)),
    (ways::URING_REGISTERED, RGBColor(190, 80, 0)),
    (ways::TOKIO_URING, RGBColor(227, 119, 194)),
    (ways::SPAWN_BLOCKING, RGBColor(214, 39, 40)),
    (ways::TOKIO_FS, RGBColor(140, 86, 75)),
];

/// Lists the ways that are drawn as bars.
const BARS: [(&str, RGBColor); 8] = [
    (ways::RAW, RGBColor(31, 119, 180)),
    (ways::SCOPE, RGBColor(90, 160, 210)),
    (ways::QUEUE, RGBColor(0, 60, 140)),
    (ways::QUEUE_IN_PLACE, RGBColor(60, 100, 170)),
    (ways::C_RING, RGBColor(160, 160, 160)),
    (ways::LIBAIO, RGBColor(120, 120, 120)),
    (ways::URING, RGBColor(255, 127, 14)),
    (ways::URING_REGISTERED, RGBColor(190, 80, 0)),
];

/// Lists the ways of the front page, with the names that they have there.
const FRONT: [(&str, &str); 5] = [
    (ways::QUEUE, "linux-aio, Queue"),
    (ways::DRIVER, "linux-aio, tokio"),
    (ways::LIBAIO, "libaio"),
    (ways::TOKIO_URING, "tokio-uring"),
    (ways::SPAWN_BLOCKING, "spawn_blocking"),
];

/// Sets the size of a diagram. A page shows two beside each other without making them smaller.
const SIZE: (u32, u32) = (490, 340);
/// Sets the width of the names of lines, at the right.
const LEGEND: u32 = 165;

/// Sets the sizes of letters: a forge's page has text of 14 to 16 pixels, which is 17 to 20 here.
const CAPTION: (&str, u32) = ("sans-serif", 18);
const LABEL: (&str, u32) = ("sans-serif", 16);
const BAR_LABEL: (&str, u32) = ("sans-serif", 13);

/// Draws `overview.svg` of the first diagrams, `front.svg` for the front page, and one picture for
/// each diagram, into `folder`. Returns the names of the latter.
pub fn draw(report: &Report, folder: &Path) -> Result<Vec<String>> {
    let panels = panels(report);
    draw_grid(&panels[..panels.len().min(4)], &folder.join("overview.svg"))?;
    draw_grid(&front(report), &folder.join("front.svg"))?;
    for panel in &panels {
        draw_grid(slice::from_ref(panel), &folder.join(format!("{}.svg", panel.file)))?;
    }
    Ok(panels.into_iter().map(|panel| panel.file).collect())
}

/// Draws the panels in two columns; nothing if there are none.
fn draw_grid(panels: &[Panel], file: &Path) -> Result<()> {
    let columns = panels.len().min(2);
    if columns == 0 {
        return Ok(());
    }
    let rows = panels.len().div_ceil(columns);
    let size = (SIZE.0 * columns as u32, SIZE.1 * rows as u32);
    let root = SVGBackend::new(file, size).into_drawing_area();
    root.fill(&WHITE).map_err(shown)?;
    for (area, panel) in root.split_evenly((rows, columns)).iter().zip(panels) {
        panel.draw(area)?;
    }
    root.present().map_err(shown)
}

/// Formats a number of an axis, without the digits that its steps do not need.
fn rounded(value: &f64) -> String {
    ((value * 100.0).round() / 100.0).to_string()
}

/// Makes an error of one of the library, which holds what cannot be kept.
fn shown(error: impl std::error::Error) -> anyhow::Error {
    anyhow!("{error}")
}

/// Describes one diagram.
struct Panel {
    file: String,
    title: String,
    unit: &'static str,
    data: Data,
}

enum Data {
    /// By depth.
    Lines(Vec<Line>),
    /// By batch.
    Bars(Vec<Bars>),
}

/// Holds the results of a way at each depth.
struct Line {
    way: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Holds the results of each way with a batch of that name.
struct Bars {
    name: String,
    bars: Vec<(&'static str, RGBColor, f64)>,
}

/// Draws the diagrams of the front page: how much a disk does, and what it costs.
fn front(report: &Report) -> Vec<Panel> {
    let panel = |title: &str, value: fn(&Outcome) -> f64| {
        let mut panel = lines(report, Device::File, (String::new(), title.into()), value)?;
        let Data::Lines(series) = &mut panel.data else { return None };
        series.retain_mut(|line| match FRONT.iter().find(|(way, _)| *way == line.way) {
            Some((_, name)) => {
                line.way = name;
                true
            }
            None => false,
        });
        (!series.is_empty()).then_some(panel)
    };
    let speed = panel("4 KiB reads, thousands a second", |outcome| outcome.per_second() / 1e3);
    let cost = panel("processor time of a read, µs", |outcome| outcome.cpu_nanos() / 1e3);
    speed.into_iter().chain(cost).collect()
}

/// Returns the measurements that can be drawn.
fn panels(report: &Report) -> Vec<Panel> {
    let mut panels = Vec::new();
    if let Some(panel) = bars(report) {
        panels.push(panel);
    }
    for device in [Device::Zram, Device::File, Device::LoopMemory, Device::LoopFile] {
        let title = device.title();
        panels.extend(lines(
            report,
            device,
            (device.name().into(), format!("{title}: 4 KiB reads, thousands a second")),
            |outcome| outcome.per_second() / 1e3,
        ));
        if device == Device::File {
            panels.extend(lines(
                report,
                device,
                ("file-cpu".into(), format!("{title}: processor time of a read, µs")),
                |outcome| outcome.cpu_nanos() / 1e3,
            ));
        }
    }
    panels
}

fn bars(report: &Report) -> Option<Panel> {
    let mut groups = Vec::new();
    for batch in [1, 8, 32] {
        let Some(cell) = report.cell(Device::Zero, Load::Read, batch, batch) else { continue };
        let bars = BARS.iter().filter_map(|&(way, colour)| {
            cell.of(way).map(|outcome| (way, colour, outcome.nanos()))
        });
        groups.push(Bars { name: format!("batch {batch}"), bars: bars.collect() });
    }
    let title = "/dev/zero: a read of 512 bytes, ns (the calls alone)".into();
    let (file, unit) = ("zero".into(), "");
    (!groups.is_empty()).then_some(Panel { file, title, unit, data: Data::Bars(groups) })
}

fn lines(
    report: &Report,
    device: Device,
    (file, title): (String, String),
    value: impl Fn(&Outcome) -> f64,
) -> Option<Panel> {
    let mut series = Vec::new();
    for (way, colour) in LINES {
        let points = report.by_depth(device, Load::Read, way);
        let points: Vec<_> =
            points.map(|(depth, outcome)| (f64::from(depth), value(outcome))).collect();
        if points.len() > 1 {
            series.push(Line { way, colour, points });
        }
    }
    let data = Data::Lines(series);
    let Data::Lines(series) = &data else { return None };
    (!series.is_empty()).then_some(Panel { file, title, unit: "queue depth", data })
}

impl Panel {
    fn draw(&self, area: &Area<'_>) -> Result<()> {
        match &self.data {
            Data::Lines(series) => self.draw_lines(area, series),
            Data::Bars(groups) => self.draw_bars(area, groups),
        }
    }

    fn draw_lines(&self, area: &Area<'_>, series: &[Line]) -> Result<()> {
        let points = || series.iter().flat_map(|line| &line.points);
        let most = points().map(|point| point.1).fold(0.0, f64::max) * 1.1;
        let deepest = points().map(|point| point.0).fold(2.0, f64::max);
        let width = area.dim_in_pixel().0.saturating_sub(LEGEND);
        let (area, names) = area.split_horizontally(width);
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, CAPTION)
            .margin(10)
            .x_label_area_size(42)
            .y_label_area_size(42)
            .build_cartesian_2d((1.0..deepest).log_scale().base(2.0), 0.0..most)
            .map_err(shown)?;
        chart
            .configure_mesh()
            .x_desc(self.unit)
            .light_line_style(WHITE)
            .label_style(LABEL)
            .x_label_formatter(&|depth| format!("{depth:.0}"))
            .y_label_formatter(&rounded)
            .draw()
            .map_err(shown)?;
        for (index, Line { way, colour, points }) in series.iter().enumerate() {
            let style = ShapeStyle::from(colour).stroke_width(2);
            chart.draw_series(LineSeries::new(points.iter().copied(), style)).map_err(shown)?;
            let dots = points.iter().map(|&point| Circle::new(point, 3, colour.filled()));
            chart.draw_series(dots).map_err(shown)?;
            let y = 50 + 22 * index as i32;
            names.draw(&PathElement::new([(0, y), (16, y)], style)).map_err(shown)?;
            names.draw(&Text::new(*way, (22, y - 7), LABEL)).map_err(shown)?;
        }
        Ok(())
    }

    fn draw_bars(&self, area: &Area<'_>, groups: &[Bars]) -> Result<()> {
        let bars = || groups.iter().flat_map(|group| &group.bars);
        let most = bars().map(|bar| bar.2).fold(0.0, f64::max) * 1.35;
        let width = BARS.len() as f64 + 2.0;
        let names = |at: &f64| {
            let group = groups.get((at / width) as usize).filter(|_| at % width > 0.0);
            group.map(|group| group.name.clone()).unwrap_or_default()
        };
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, CAPTION)
            .margin(10)
            .x_label_area_size(42)
            .y_label_area_size(50)
            .build_cartesian_2d(0.0..width * groups.len() as f64, 0.0..most)
            .map_err(shown)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .light_line_style(WHITE)
            .label_style(LABEL)
            .x_label_formatter(&names)
            .y_label_formatter(&rounded)
            .draw()
            .map_err(shown)?;
        for (group, Bars { name, bars }) in groups.iter().enumerate() {
            let left = group as f64 * width + 1.0;
            let number = |index: usize| left + index as f64;
            let rectangles = bars.iter().enumerate().map(|(index, &(_, colour, value))| {
                Rectangle::new(
                    [(number(index), 0.0), (number(index) + 0.9, value)],
                    colour.filled(),
                )
            });
            chart.draw_series(rectangles).map_err(shown)?;
            let upright = BAR_LABEL.into_font().transform(FontTransform::Rotate270);
            let labels = bars.iter().enumerate().map(|(index, &(way, _, value))| {
                EmptyElement::at((number(index) + 0.2, value))
                    + Text::new(format!("{way} {value:.0}"), (0, -4), upright.clone())
            });
            chart.draw_series(labels).map_err(shown)?;
            let below = EmptyElement::at((left + width / 3.0, 0.0))
                + Text::new(name.clone(), (0, 8), LABEL.into_font());
            chart.draw_series([below]).map_err(shown)?;
        }
        Ok(())
    }
}
