"""The contract that a conforming deployment implements: document, problem catalogue, decoder."""

from certification.contract.decode import ContractDecodeError, parse_json
from certification.contract.document import Contract, load_contract
from certification.contract.operation import IfMatch, Operation, Problem
from certification.contract.schemas import Violation

__all__ = [
    "Contract",
    "ContractDecodeError",
    "IfMatch",
    "Operation",
    "Problem",
    "Violation",
    "load_contract",
    "parse_json",
]
