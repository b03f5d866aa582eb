using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>YAML and protobuf bodies as JSON, by the decoders of the schema.</summary>
internal sealed class BodyDecoder : IBodyDecoder
{
    /// <inheritdoc/>
    public byte[] YamlToJson(ReadOnlySpan<byte> yaml) =>
        // Duplicate and unknown members stay in: the object's grain reports them.
        ObjectDecoder.TryConvertYaml(yaml, out var json, out var error)
            ? json
            : throw new StatusException(StatusError.BadRequest(error.Message));

    /// <inheritdoc/>
    public byte[] ProtobufToJson(ReadOnlySpan<byte> protobuf) => ToJson(ObjectDecoder.DecodeProtobuf(protobuf));

    private static byte[] ToJson(DecodeResult result) => result.Object is { } obj
        ? CanonicalJson.SerializeNode(obj)
        : throw new StatusException(StatusError.BadRequest(result.Error?.Message ?? "the body cannot be decoded"));
}
