"""docs/hooks.md: each recipe is a configuration that works, and reads the product's real request."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from otp_service.hooks import Hook, HookDelivery
from otp_service.settings import Settings, find_errors, load_settings
from tests.hooks.products import (
    PRODUCTS,
    SECRET,
    build_request,
    read_request,
    to_whsec,
)


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hooks.md").read_text()
RECIPES = {
    next(iter(tomllib.loads(text)["hooks"])): text
    for text in re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
}
REAL_PRODUCTS = [name for name in RECIPES if name != "example"]


def load_recipe(name: str) -> Settings:
    """Return the settings with this recipe, whose secret file has the secret of these tests."""
    least = (ROOT / "tests" / "settings" / "working_least.toml").read_text()
    secret = f"v1,{to_whsec(SECRET)}" if name == "supabase" else SECRET
    return load_settings(least + RECIPES[name], {}, lambda _: secret, cores=2)


def test_each_product_has_a_recipe() -> None:
    """Those of the data, and every type of hook."""
    types = {tomllib.loads(text)["hooks"][name]["type"] for name, text in RECIPES.items()}

    assert {kind.__struct_config__.tag for kind in get_args(Hook)} == types
    assert {*PRODUCTS} - {"hmac", "standard-webhooks"} == {*REAL_PRODUCTS}
    headings = re.findall(r"^###? (.*)$", PAGE, re.MULTILINE)
    assert {*REAL_PRODUCTS} <= {heading.lower() for heading in headings}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_safe(name: str) -> None:
    """`check` accepts it as it is written."""
    assert [] == find_errors(load_recipe(name))


@pytest.mark.parametrize("name", REAL_PRODUCTS)
def test_a_recipe_reads_the_products_request(name: str) -> None:
    """It verifies the product's signature and finds number, code, and what else it has."""
    hook, product = load_recipe(name).hooks[name], PRODUCTS[name]
    body = read_request(product.request)
    request = build_request(body, product.sign(body))

    hook.verify_signature(request)
    delivery: Any = hook.parse_delivery(request)

    sent = {each: getattr(delivery, each) for each in HookDelivery.__struct_fields__}
    assert {name: value for name, value in sent.items() if value is not None} == {
        **product.sent,
        "identity": delivery.identity,
    }


def test_every_request_has_its_source() -> None:
    """And no other file is listed."""
    data = Path(__file__).parent / "data"
    listed = re.findall(r"`(\w+\.json)`", (data / "README.md").read_text())

    assert sorted(path.name for path in data.glob("*.json")) == sorted({*listed} - {"request.json"})
