using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Api.Tests.Schema;

public sealed class ObjectDecoderTests
{
    private static readonly TypeSchema Pod = SchemaCatalog.Find("", "v1", "Pod")!;

    [Theory]
    [InlineData("Pod", """{"kind":"Pod","apiVersion":"v1"}""", """{"kind":"Pod","apiVersion":"v1","metadata":{}}""")]
    [InlineData("Pod", """{"spec":{"containers":[]},"metadata":{"name":"a","creationTimestamp":null},"apiVersion":"v1"}""", """{"apiVersion":"v1","metadata":{"name":"a"},"spec":{"containers":[]}}""")]
    [InlineData("Pod", """{"metadata":{"labels":{"b":"1","a":"2"}}}""", """{"metadata":{"labels":{"a":"2","b":"1"}}}""")]
    [InlineData("Pod", """{"metadata":{},"spec":{"hostNetwork":false,"priority":0,"hostname":"","nodeSelector":{},"tolerations":[]}}""", """{"metadata":{},"spec":{"priority":0}}""")]
    [InlineData("Pod", """{"metadata":{},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"1000m","memory":"1024Mi","x":0.5,"y":2000}}}]}}""", """{"metadata":{},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"1","memory":"1Gi","x":"500m","y":"2k"}}}]}}""")]
    [InlineData("Pod", """{"metadata":{"creationTimestamp":"2024-05-01T12:00:00+02:00"}}""", """{"metadata":{"creationTimestamp":"2024-05-01T10:00:00Z"}}""")]
    [InlineData("Pod", """{"metadata":{},"spec":{"volumes":[{"emptyDir":{},"name":"v"},{"name":"w","configMap":{"name":"m"}}],"containers":null}}""", """{"metadata":{},"spec":{"volumes":[{"name":"v","emptyDir":{}},{"name":"w","configMap":{"name":"m"}}]}}""")]
    [InlineData("Service", """{"metadata":{},"spec":{"ports":[{"port":80,"targetPort":"http"},{"targetPort":0,"port":81}]}}""", """{"metadata":{},"spec":{"ports":[{"port":80,"targetPort":"http"},{"port":81}]}}""")]
    [InlineData("Secret", """{"metadata":{},"data":{"k":"YQ==","empty":""}}""", """{"metadata":{},"data":{"empty":"","k":"YQ=="}}""")]
    [InlineData("ConfigMap", """{"metadata":{},"data":{"\u006b":"v\u00e9","n":null}}""", """{"metadata":{},"data":{"k":"vé","n":""}}""")]
    public void Decode_Json_GivesCanonicalForm(string kind, string json, string expected)
    {
        var result = ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes(json), SchemaCatalog.Find("", "v1", kind)!);

        Assert.True(result.Succeeded, result.Error?.Message);
        Assert.Empty(result.StrictErrors);
        Assert.Equal(expected, Text(result.Object));
        Assert.Equal(expected, Text(ObjectDecoder.Canonicalize(result.Object, SchemaCatalog.Find("", "v1", kind)!).Object!));
    }

    [Theory]
    [InlineData("""{"metadata":{},"spec":{"foo":1}}""", """unknown field "spec.foo" """)]
    [InlineData("""{"metadata":{},"spec":{"containers":[{"name":"a"},{"name":"b","Image":"x","bar":{"a":[1,{"b":2}]}}]}}""", """unknown field "spec.containers[1].Image", unknown field "spec.containers[1].bar" """)]
    [InlineData("""{"metadata":{"labels":{"k":"1","k":"2"}}}""", """duplicate field "metadata.labels.k" """)]
    [InlineData("""{"metadata":{"name":"a","name":"b"},"bogus":1}""", """duplicate field "metadata.name", unknown field "bogus" """)]
    [InlineData("""{"metadata":{},"spec":{"x":1,"x":2}}""", """unknown field "spec.x" """)]
    public void Decode_UnknownOrDuplicate_IsReported(string json, string expected)
    {
        var result = ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes(json), Pod);

        Assert.True(result.Succeeded, result.Error?.Message);
        Assert.Equal(expected.TrimEnd(), string.Join(", ", result.StrictErrors));
        Assert.StartsWith("Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: ", result.ToStrictStatus("v1", "Pod")!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Decode_Duplicate_LastOneCounts()
    {
        var result = ObjectDecoder.DecodeJson("""{"metadata":{"name":"a","name":"b","labels":{"k":"1","k":"2"}}}"""u8, Pod);

        Assert.Equal("""{"metadata":{"name":"b","labels":{"k":"2"}}}""", Text(result.Object!));
    }

    [Theory]
    [InlineData("""{"spec":{"terminationGracePeriodSeconds":"30"}}""", "json: cannot unmarshal string into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64")]
    [InlineData("""{"spec":{"containers":[{"env":[{"name":"a","value":1}]}]}}""", "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string")]
    [InlineData("""{"spec":{"containers":["x"]}}""", "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type v1.Container")]
    [InlineData("""{"spec":{"containers":{}}}""", "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container")]
    [InlineData("""{"spec":{"priority":1.5}}""", "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32")]
    [InlineData("""{"spec":{"priority":3000000000}}""", "json: cannot unmarshal number 3000000000 into Go struct field PodSpec.spec.priority of type int32")]
    [InlineData("""{"spec":{"hostNetwork":"yes"}}""", "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool")]
    [InlineData("""{"metadata":{"labels":{"a":true}}}""", "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string")]
    [InlineData("""{"metadata":[]}""", "json: cannot unmarshal array into Go struct field Pod.metadata of type v1.ObjectMeta")]
    [InlineData("""{"spec":{"containers":[{"resources":{"limits":{"cpu":"lots"}}}]}}""", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    [InlineData("""{"spec":{"containers":[{"readinessProbe":{"httpGet":{"port":true}}}]}}""", "json: cannot unmarshal bool into Go value of type int32")]
    [InlineData("""{"metadata":{"creationTimestamp":"yesterday"}}""", "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\"")]
    public void Decode_WrongType_IsAnError(string json, string expected)
    {
        var result = ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes(json), Pod);

        Assert.Equal(DecodeErrorKind.Type, result.Error!.Kind);
        Assert.Equal(expected, result.Error.Message);
        Assert.Equal("Pod in version \"v1\" cannot be handled as a Pod: " + expected, result.ToStatus("v1", "Pod", []).Message);
    }

    [Theory]
    [InlineData("", "unexpected end of JSON input")]
    [InlineData("{", "unexpected end of JSON input")]
    [InlineData("""{"a":""", "unexpected end of JSON input")]
    [InlineData("""{"a":1}x""", "invalid character 'x' at offset 7")]
    [InlineData("{\n \"a\": tru}", "invalid character '}' at offset 11")]
    [InlineData("[]", "json: cannot unmarshal array into Go value of type struct")]
    [InlineData("\"x\"", "json: cannot unmarshal string into Go value of type struct")]
    [InlineData("""{"metadata":{"name":"\ud800"}}""", "invalid surrogate pair in string")]
    public void Decode_NotJson_IsASyntaxError(string json, string expected)
    {
        var result = ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes(json), Pod);

        Assert.Equal(DecodeErrorKind.Syntax, result.Error!.Kind);
        Assert.Equal(expected, result.Error.Message);
    }

    [Fact]
    public void Decode_InvalidUtf8_IsASyntaxError() =>
        Assert.Equal("invalid UTF-8", ObjectDecoder.DecodeJson([(byte)'{', (byte)'"', 0xff, (byte)'"', (byte)':', (byte)'1', (byte)'}'], Pod).Error!.Message);

    [Theory]
    [InlineData("""{"spec":{"x":%}}""")]
    [InlineData("""{"metadata":{"managedFields":[{"fieldsV1":%}]}}""")]
    public void Decode_TooDeep_IsASyntaxError(string template)
    {
        var deep = new string('[', 100_000);
        var json = template.Replace("%", deep, StringComparison.Ordinal);

        Assert.Equal("exceeded max depth", ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes(json), Pod).Error!.Message);
    }

    [Fact]
    public void Decode_TooManyValues_IsASyntaxError()
    {
        var json = "{\"metadata\":{\"managedFields\":[" + string.Join(',', Enumerable.Repeat("{}", 600_000)) + "]}}";

        Assert.Equal("the object has too many values", ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes(json), Pod).Error!.Message);
    }

    [Fact]
    public void Decode_ManyUnknownFields_ReportsAtMost100()
    {
        var json = "{" + string.Join(',', Enumerable.Range(0, 1000).Select(n => $"\"x{n}\":1")) + "}";

        Assert.Equal(100, ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes(json), Pod).StrictErrors.Count);
    }

    [Theory]
    [InlineData("""{"metadata":{"creationTimestamp":"%"}}""")]
    [InlineData("""{"spec":{"priority":%}}""")]
    [InlineData("""{"spec":{"containers":[{"livenessProbe":{"tcpSocket":{"port":%}}}]}}""")]
    [InlineData("""{"metadata":{"labels":{"%":1}}}""")]
    public void Decode_ErrorAboutALongText_IsShort(string template)
    {
        var result = ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes(template.Replace("%", new string('1', 100_000), StringComparison.Ordinal)), Pod);

        Assert.InRange(result.Error!.Message.Length, 1, 1100);
    }

    [Fact]
    public void Decode_LongUnknownName_IsReportedShort()
    {
        var result = ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes("{\"" + new string('x', 100_000) + "\":1}"), Pod);

        Assert.InRange(Assert.Single(result.StrictErrors).Length, 1, 1100);
    }

    [Fact]
    public void Decode_CustomResource_KeepsWhatItDoesNotKnow()
    {
        var json = """{"spec":{"b":1,"a":[null,1.50,-3,"x",true]},"metadata":{"name":"n","bogus":1},"kind":"Foo","apiVersion":"x.io/v1"}""";

        var result = ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes(json), SchemaCatalog.CustomResource);

        Assert.Equal("""{"kind":"Foo","apiVersion":"x.io/v1","metadata":{"name":"n"},"spec":{"b":1,"a":[null,1.50,-3,"x",true]}}""", Text(result.Object!));
        Assert.Equal(["""unknown field "metadata.bogus" """.TrimEnd()], result.StrictErrors);
    }

    [Fact]
    public void Decode_CrdSchema_ReadsUnions()
    {
        var json = """{"metadata":{},"spec":{"versions":[{"schema":{"openAPIV3Schema":{"type":"object","default":{"a":null},"enum":[1,"a"],"additionalProperties":false,"items":{"type":"string"},"dependencies":{"x":["y"]},"properties":{"z":{"additionalProperties":{"type":"integer"},"maximum":1.5}}}}}]}}""";
        var type = SchemaCatalog.Find("apiextensions.k8s.io", "v1", "CustomResourceDefinition")!;

        var result = ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes(json), type);

        Assert.True(result.Succeeded, result.Error?.Message);
        Assert.Empty(result.StrictErrors);
        var schema = result.Object["spec"]!["versions"]![0]!["schema"]!["openAPIV3Schema"]!;
        Assert.False((bool)schema["additionalProperties"]!);
        Assert.Equal("y", (string)schema["dependencies"]!["x"]![0]!);
        Assert.Equal(1.5, (double)schema["properties"]!["z"]!["maximum"]!);
    }

    [Fact]
    public void Decode_Numbers_CanBeReadAsAnyNumericType()
    {
        var result = ObjectDecoder.DecodeJson("""{"metadata":{"generation":7},"spec":{"priority":1000}}"""u8, Pod);

        var priority = result.Object!["spec"]!["priority"]!;
        Assert.Equal(1000, priority.GetValue<int>());
        Assert.Equal(1000L, priority.GetValue<long>());
        Assert.Equal(7, (int)result.Object["metadata"]!["generation"]!);
    }

    [Fact]
    public void PeekKind_FindsBothMembers()
    {
        Assert.Equal(("apps/v1", "Deployment"), ObjectDecoder.PeekKind("""{"metadata":{"x":[1]},"kind":"Deployment","apiVersion":"apps/v1"}"""u8));
        Assert.Equal(("v1", ""), ObjectDecoder.PeekKind("""{"apiVersion":"v1","kind":1,x"""u8));
        Assert.Equal(("", ""), ObjectDecoder.PeekKind("[]"u8));
    }

    internal static string Text(JsonNode node) => Encoding.UTF8.GetString(CanonicalJson.SerializeNode(node));
}
