//! Writes over HTTP, and searches that must see them.

use serde_json::{Map, Value, json};

use super::house::fine;
use super::model::Put;
use super::world::World;

/// Ids that writes are about.
const IDS: u64 = 40;

fn an_id(world: &mut World) -> String {
    format!("i{}", world.random.below(IDS))
}

pub fn a_put(world: &mut World, id: String, dimension: usize) -> Put {
    let mut attributes = Map::new();
    attributes.insert("n".into(), json!(world.random.below(100)));
    attributes.insert("batch".into(), json!(format!("b{}", world.random.below(5))));
    if world.random.once_in(2) {
        attributes.insert("price".into(), json!(world.random.below(1000) as f64 / 4.0));
    }
    let version = world.random.once_in(3).then(|| world.random.below(30));
    let inserted_at = world.random.once_in(4).then(|| "2001-02-03T04:05:06.789Z".to_owned());
    Put { id, vector: world.random.vector(dimension), attributes, version, inserted_at }
}

/// A batch of puts.
pub fn put(world: &mut World) {
    let Some(name) = world.a_collection() else { return };
    let dimension = world.kept[&name].kind.dimension;
    let puts: Vec<Put> = (0..1 + world.random.below(12))
        .map(|_| {
            let id = an_id(world);
            a_put(world, id, dimension)
        })
        .collect();
    let mut items: Vec<Value> = puts.iter().map(Put::to_json).collect();
    // One that has expired is not there, however often it is put.
    if world.random.once_in(5) {
        let vector = world.random.vector(dimension);
        items.push(json!({"id": format!("x{}", world.new_number()), "vector": vector, "expires_at": "2001-01-01T00:00:00Z"}));
    }
    world.tell(format!("put {} into {name}", items.len()));
    let answer = fine(world.client(&name).post("/items", &json!({ "items": items })));
    let kept = world.kept.get_mut(&name).unwrap();
    let ignored = puts.iter().filter(|put| !kept.state.put(put)).count();
    assert_eq!(answer["ignored"], ignored, "{answer}");
    kept.written(answer["seq"].as_u64().unwrap());
}

/// A batch of patches, some of items that are not there.
pub fn patch(world: &mut World) {
    let Some(name) = world.a_collection() else { return };
    let patches: Vec<(String, Map<String, Value>)> = (0..1 + world.random.below(6))
        .map(|_| {
            let mut attributes = Map::new();
            attributes.insert("n".into(), json!(1000 + world.random.below(100)));
            if world.random.once_in(3) {
                attributes.insert(world.random.pick(&["batch", "price"]).into(), Value::Null);
            }
            (an_id(world), attributes)
        })
        .collect();
    let items: Vec<Value> =
        patches.iter().map(|(id, attributes)| json!({"id": id, "attributes": attributes})).collect();
    world.tell(format!("patch {} of {name}", items.len()));
    let answer = fine(world.client(&name).patch("/items", &json!({"items": items, "missing": "skip"})));
    let kept = world.kept.get_mut(&name).unwrap();
    let patched = patches.iter().filter(|(id, attributes)| kept.state.patch(id, attributes)).count();
    assert_eq!(answer["patched"], patched, "{answer}");
    kept.written(answer["seq"].as_u64().unwrap());
}

/// Deletes by id, or by a filter.
pub fn delete(world: &mut World) {
    let Some(name) = world.a_collection() else { return };
    let by_filter = world.random.once_in(3);
    let (body, ids) = if by_filter {
        let n = world.random.below(100);
        let gone = |item: &super::model::Item| {
            item.attributes["n"].as_u64().is_some_and(|has| has == n || has == 1000 + n)
        };
        let items = &world.kept[&name].state.items;
        let ids: Vec<String> =
            items.iter().filter(|(_, item)| gone(item)).map(|(id, _)| id.clone()).collect();
        (json!({"filter": {"n": {"in": [n, 1000 + n]}}}), ids)
    } else {
        let ids: Vec<String> = (0..1 + world.random.below(4)).map(|_| an_id(world)).collect();
        (json!({"ids": ids}), ids)
    };
    world.tell(format!("delete {body} of {name}"));
    let answer = fine(world.client(&name).post("/items/delete", &body));
    let kept = world.kept.get_mut(&name).unwrap();
    let deleted = ids.iter().filter(|id| kept.state.delete(id)).count();
    assert_eq!(answer["deleted"], deleted, "{answer}");
    kept.written(answer["seq"].as_u64().unwrap());
}

pub fn checkpoint(world: &mut World) {
    let Some(name) = world.a_collection() else { return };
    world.tell(format!("checkpoint of {name}"));
    fine(world.client(&name).post("/checkpoint", &json!({})));
}

/// An exact search for all that is there, which waits for the last write.
pub fn search(world: &mut World) {
    let Some(name) = world.a_collection() else { return };
    let (kept, client) = (&world.kept[&name], world.client(&name));
    let vector = world.random.clone().vector(kept.kind.dimension);
    world.random.draw();
    let body = json!({"query": {"vector": vector}, "exact": true, "limit": 1000, "min_seq": kept.seq,
        "return": {"attributes": ["n", "batch", "price"], "vector": true}});
    let answer = fine(client.post("/search", &body));
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), kept.state.items.len(), "a search of {name}");
    for result in results {
        let id = result["id"].as_str().unwrap();
        let item = kept.state.items.get(id).unwrap_or_else(|| panic!("{id} of {name} is not there any more"));
        assert_eq!(result["attributes"], Value::Object(item.attributes.clone()), "{id} of {name}");
        assert_eq!(result["vector"], json!(item.vector), "{id} of {name}");
        let (has, wanted) =
            (result["similarity"].as_f64().unwrap(), similarity(kept.kind.metric, &vector, &item.vector));
        assert!((has - wanted).abs() <= 1e-4 * wanted.abs().max(1.0), "{id} of {name}: {has}, not {wanted}");
    }
    world.tell(format!("search of {name}"));
}

fn similarity(metric: &str, one: &[f32], other: &[f32]) -> f64 {
    let product = |one: &[f32], other: &[f32]| -> f64 {
        one.iter().zip(other).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum()
    };
    match metric {
        "dot" => product(one, other),
        "cosine" => product(one, other) / (product(one, one) * product(other, other)).sqrt(),
        _ => -one.iter().zip(other).map(|(one, other)| f64::from(one - other).powi(2)).sum::<f64>(),
    }
}
