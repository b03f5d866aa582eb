using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api.Tests.Schema;

public sealed class ProtobufDecoderTests
{
    [Fact]
    public void Decode_ConfigMapAsKubectlSendsIt_GivesTheObject()
    {
        byte[] body =
        [
            0x6b, 0x38, 0x73, 0x00,
            0x0a, 0x0f, 0x0a, 0x02, .. "v1"u8, 0x12, 0x09, .. "ConfigMap"u8,
            0x12, 0x1d,
            0x0a, 0x13, 0x0a, 0x03, .. "cmx"u8, 0x12, 0x00, 0x1a, 0x00, 0x22, 0x00, 0x2a, 0x00, 0x32, 0x00, 0x38, 0x00, 0x42, 0x00,
            0x12, 0x06, 0x0a, 0x01, .. "a"u8, 0x12, 0x01, .. "b"u8,
            0x1a, 0x00, 0x22, 0x00,
        ];

        var result = ObjectDecoder.DecodeProtobuf(body);

        Assert.True(result.Succeeded, result.Error?.Message);
        Assert.Equal("""{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"cmx"},"data":{"a":"b"}}""", ObjectDecoderTests.Text(result.Object));
    }

    public static TheoryData<string> Objects =>
    [
        """{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","creationTimestamp":"2024-05-01T10:00:00Z","labels":{"a":"1","b":""},"finalizers":["x","y"]},"spec":{"volumes":[{"name":"v","emptyDir":{"sizeLimit":"1Gi"}},{"name":"c","configMap":{"name":"m","defaultMode":0}}],"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}],"resources":{"limits":{"cpu":"500m","memory":"1Gi"}},"livenessProbe":{"httpGet":{"port":"http"},"periodSeconds":5}}],"terminationGracePeriodSeconds":0,"priority":-5,"ephemeralContainers":[{"name":"e","image":"d","targetContainerName":"c"}]}}""",
        """{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"d"},"spec":{"replicas":0,"selector":{"matchLabels":{"a":"b"}},"template":{"spec":{"containers":[]}},"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":0,"maxSurge":"25%"}}}}""",
        """{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"data":{"k":"AP8="},"type":"Opaque"}""",
        """{"kind":"ClusterRole","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"r"},"rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]}""",
        """{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"l"},"spec":{"holderIdentity":"h","leaseDurationSeconds":15,"renewTime":"2024-05-01T10:00:00.123456Z"}}""",
        """{"kind":"CertificateSigningRequest","apiVersion":"certificates.k8s.io/v1","metadata":{"name":"c"},"spec":{"request":"YQ==","signerName":"x","usages":["client auth"],"extra":{"a":["1","2"]}}}""",
        """{"kind":"NetworkPolicy","apiVersion":"networking.k8s.io/v1","metadata":{"name":"n"},"spec":{"podSelector":{},"ingress":[{"ports":[{"port":80},{"port":"web"}]}]}}""",
        """{"kind":"ControllerRevision","apiVersion":"apps/v1","metadata":{"name":"r"},"data":{"spec":{"x":[1,null,"a"]}},"revision":3}""",
        """{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{"name":"c"},"spec":{"group":"g","names":{"plural":"p","kind":"K"},"scope":"Namespaced","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","maximum":1.5,"enum":[1,"a"],"items":{"type":"string"},"properties":{"a":{"type":"integer"}},"additionalProperties":true,"dependencies":{"x":["y"]}}}}]}}""",
        """{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"preconditions":{"uid":"u"},"propagationPolicy":"Background"}""",
    ];

    [Theory]
    [MemberData(nameof(Objects))]
    public void Decode_AnyKind_GivesWhatWasEncoded(string json)
    {
        var obj = (JsonObject)JsonNode.Parse(json)!;
        var type = TypeOf(obj);
        var expected = ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes(json), type);
        Assert.True(expected.Succeeded, expected.Error?.Message);
        Assert.Empty(expected.StrictErrors);

        var result = ObjectDecoder.DecodeProtobuf(ProtobufWriter.Envelope(obj, type));

        Assert.True(result.Succeeded, result.Error?.Message);
        Assert.Equal(WithoutEmpty(expected.Object), WithoutEmpty(result.Object));
    }

    [Theory]
    [MemberData(nameof(Objects))]
    public void Decode_TruncatedAnywhere_NeverThrows(string json)
    {
        var obj = (JsonObject)JsonNode.Parse(json)!;
        var body = ProtobufWriter.Envelope(obj, TypeOf(obj));

        for (var length = 0; length < body.Length; length++)
        {
            var result = ObjectDecoder.DecodeProtobuf(body.AsSpan(0, length));
            Assert.True(result.Succeeded != result.Error is not null);
        }
    }

    [Theory]
    [InlineData("6b3873", "unable to decode protobuf: provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    [InlineData("6b387300ff", "unable to decode protobuf: unexpected EOF")]
    [InlineData("6b3873000a0a", "unable to decode protobuf: unexpected EOF")]
    [InlineData("6b38730000", "unable to decode protobuf: illegal tag 0")]
    [InlineData("6b3873000affffffffffffffffff01", "unable to decode protobuf: unexpected EOF")]
    [InlineData("6b3873000b", "unable to decode protobuf: wrong wire type 3 for field 1")]
    [InlineData("6b3873001b", "unable to decode protobuf: illegal wire type 3")]
    [InlineData("6b387300", "no kind \"\" is registered for version \"\"")]
    [InlineData("6b3873000a0e0a0278311208436f6e6669674d61", "no kind \"ConfigMa\" is registered for version \"x1\"")]
    public void Decode_NotAnEnvelope_IsAnError(string hex, string expected) =>
        Assert.Equal(expected, ObjectDecoder.DecodeProtobuf(Convert.FromHexString(hex)).Error!.Message);

    [Fact]
    public void Decode_EndlessNesting_IsAnError()
    {
        // openAPIV3Schema.not.not.not… (field 28), built from the inside.
        byte[] message = [];
        for (var i = 0; i < 1000; i++)
            message = Wrap(message, 0xe2, 0x01);
        var body = (byte[])[.. "k8s\0"u8, .. Wrap([.. Wrap("apiextensions.k8s.io/v1"u8.ToArray(), 0x0a), .. Wrap("CustomResourceDefinition"u8.ToArray(), 0x12)], 0x0a),
            .. Wrap(Wrap(Wrap(Wrap(Wrap(message, 0x0a), 0x22), 0x3a), 0x12), 0x12)];

        Assert.Equal("unable to decode protobuf: exceeded max depth", ObjectDecoder.DecodeProtobuf(body).Error!.Message);
    }

    private static byte[] Wrap(byte[] value, params byte[] tag)
    {
        var output = new List<byte>(tag);
        var length = (uint)value.Length;
        for (; length >= 0x80; length >>= 7)
            output.Add((byte)(length | 0x80));
        output.Add((byte)length);
        return [.. output, .. value];
    }

    private static TypeSchema TypeOf(JsonObject obj)
    {
        var parts = ((string)obj["apiVersion"]!).Split('/');
        return SchemaCatalog.Find(parts.Length == 1 ? "" : parts[0], parts[^1], (string)obj["kind"]!)!;
    }

    /// <summary>Text without the empty objects that protobuf sends for structures by value.</summary>
    private static string WithoutEmpty(JsonObject obj)
    {
        Prune(obj);
        return ObjectDecoderTests.Text(obj);

        static void Prune(JsonNode? node)
        {
            if (node is JsonArray array)
            {
                foreach (var item in array)
                    Prune(item);
            }
            else if (node is JsonObject map)
            {
                foreach (var (name, value) in map.ToArray())
                {
                    Prune(value);
                    if (value is JsonObject { Count: 0 } || value is JsonArray { Count: 0 })
                        map.Remove(name);
                }
            }
        }
    }
}
