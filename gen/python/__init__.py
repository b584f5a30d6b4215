"""Generated stubs of the dstack contracts. Put this directory on sys.path: `from dstack.api.v1 import run_service_pb2_grpc`."""
