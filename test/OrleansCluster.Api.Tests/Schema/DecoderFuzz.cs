using System.Text;
using CsCheck;

namespace OrleansCluster.Api.Tests.Schema;

/// <summary>No input may make a decoder throw; what is decoded must decode to itself.</summary>
public sealed class DecoderFuzz
{
    private static readonly TypeSchema Pod = SchemaCatalog.Find("", "v1", "Pod")!;
    private static readonly TypeSchema Crd = SchemaCatalog.Find("apiextensions.k8s.io", "v1", "CustomResourceDefinition")!;

    /// <summary>Pieces that, glued together, are often nearly JSON of a pod.</summary>
    private static readonly string[] Pieces =
    [
        "{", "}", "[", "]", ":", ",", "\"", "\\", "null", "true", "false", "0", "-1", "1.5", "1e999", "99999999999999999999", "\"spec\":", "\"metadata\":{",
        "\"containers\":[{", "\"name\":\"a\"", "\"labels\":{\"a\":\"b\"}", "\"resources\":{\"limits\":{\"cpu\":", "\"creationTimestamp\":", "\"2024-01-01T00:00:00Z\"",
        "\"managedFields\":[{\"fieldsV1\":{", "\"emptyDir\":{}", "\"1Gi\"", "\\ud800", "\u00e9", "\t", "\0", "\"port\":", "\"priority\":", "k8s\0", "- ", "&a ", "*a ", "? ", "|\n", "!!str ", "#",
    ];

    [Fact]
    public void Decode_RandomBytes_NeverThrows() => Gen.Byte.Array[0, 80].Sample(Check);

    [Fact]
    public void Decode_GluedPieces_NeverThrows() =>
        Gen.Int[0, 40].Array[0, 30].Sample(indexes => Check(Encoding.UTF8.GetBytes(string.Concat(indexes.Select(static i => Pieces[i])))));

    [Fact]
    public void Decode_MutatedPod_NeverThrows()
    {
        var pod = """{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","labels":{"a":"1"},"creationTimestamp":"2024-05-01T10:00:00Z","managedFields":[{"fieldsV1":{"f:a":{}}}]},"spec":{"volumes":[{"name":"v","emptyDir":{"sizeLimit":"1Gi"}}],"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"500m"}},"livenessProbe":{"httpGet":{"port":"http"}}}],"priority":-5,"securityContext":{"runAsUser":0}}}"""u8.ToArray();
        Gen.Select(Gen.Int[0, pod.Length - 1], Gen.Byte, Gen.Int[0, pod.Length - 1], Gen.Byte).Sample((at, value, at2, value2) =>
        {
            var copy = (byte[])pod.Clone();
            copy[at] = value;
            copy[at2] = value2;
            Check(copy);
            Check(pod.AsSpan(0, at).ToArray());
        });
    }

    [Fact]
    public void Decode_MutatedProtobuf_NeverThrows()
    {
        var json = """{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{"name":"c","creationTimestamp":"2024-05-01T10:00:00Z"},"spec":{"versions":[{"name":"v1","schema":{"openAPIV3Schema":{"maximum":1.5,"enum":[1,"a"],"items":{"type":"string"},"additionalProperties":true,"dependencies":{"x":["y"]}}}}]}}"""u8;
        var body = ProtobufWriter.Envelope(ObjectDecoder.DecodeJson(json, Crd).Object!, Crd);
        Gen.Select(Gen.Int[0, body.Length - 1], Gen.Byte, Gen.Int[0, body.Length - 1], Gen.Byte).Sample((at, value, at2, value2) =>
        {
            var copy = (byte[])body.Clone();
            copy[at] = value;
            copy[at2] = value2;
            Check(copy);
        });
    }

    private static void Check(byte[] bytes)
    {
        foreach (var type in new[] { Pod, Crd, SchemaCatalog.CustomResource })
        {
            CheckResult(ObjectDecoder.DecodeJson(bytes, type), type);
            CheckResult(ObjectDecoder.DecodeYaml(bytes, type), type);
        }
        var protobuf = ObjectDecoder.DecodeProtobuf(bytes, Pod);
        Assert.Equal(protobuf.Succeeded, protobuf.Error is null);
        if (protobuf.Succeeded)
            CanonicalJson.SerializeNode(protobuf.Object);
        ObjectDecoder.DecodeUntyped(bytes);
        ObjectDecoder.PeekKind(bytes);
    }

    private static void CheckResult(DecodeResult result, TypeSchema type)
    {
        Assert.Equal(result.Succeeded, result.Error is null);
        if (!result.Succeeded)
            return;
        var again = ObjectDecoder.Canonicalize(result.Object, type);
        Assert.True(again.Succeeded, again.Error?.Message);
        Assert.Empty(again.StrictErrors);
        Assert.Equal(ObjectDecoderTests.Text(result.Object), ObjectDecoderTests.Text(again.Object));
    }
}
