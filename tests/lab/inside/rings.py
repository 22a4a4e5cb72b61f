# mypy: disable-error-code="import-not-found"
"""The rings of Swift: one device, one replica, four partitions."""

from swift.common.ring import RingBuilder

from tests.lab.configuration import RINGS
from tests.lab.inside import this_lab
from tests.lab.model import HOST, Lab


def main(lab: Lab) -> None:
    for kind in RINGS:
        port = lab.port(kind)
        ring = RingBuilder(2, 1, 0)  # 2**2 partitions, 1 replica, no rest between moves
        ring.add_dev(
            {
                "id": 0,
                "region": 1,
                "zone": 1,
                "ip": HOST,
                "port": port,
                "replication_ip": HOST,
                "replication_port": port,
                "device": "d1",
                "weight": 1,
                "meta": "",
            }
        )
        ring.rebalance()
        ring.get_ring().save(str(lab.etc / "swift" / f"{kind}.ring.gz"))


if __name__ == "__main__":
    main(this_lab())
