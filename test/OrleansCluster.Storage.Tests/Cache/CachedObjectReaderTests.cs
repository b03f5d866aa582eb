using System.Text;
using System.Text.Json.Nodes;
using OrleansCluster.Api;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests.Cache;

public sealed class CachedObjectReaderTests
{
    private readonly CachedObjectReader _reader = new(Pods);

    private static byte[] Bytes(string json) => CanonicalJson.Serialize(CanonicalJson.Parse(Encoding.UTF8.GetBytes(json)));

    private const string Full = """
        {"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","namespace":"a","uid":"u-1","labels":{"app":"wéb","tier":"\u0041","empty":""},
        "annotations":{"uid":"not-me","labels":"nor-me"},"deletionTimestamp":"2026-01-01T00:00:00Z",
        "ownerReferences":[{"uid":"o-1","kind":"A"},{"controller":true,"uid":"o-2","kind":"B","extra":{"uid":"o-9","controller":true}},{"uid":"o-3","controller":false}]},
        "spec":{"nodeName":"n1","containers":[{"nodeName":"wrong"}],"metadata":{"name":"wrong","uid":"wrong"}},
        "status":{"phase":"Running","nested":{"phase":"wrong"}},"reportingComponent":"second"}
        """;

    [Fact]
    public void Read_FindsWhatSelectorsNeed()
    {
        var obj = _reader.Read("a/x", 42, Bytes(Full), null);
        Assert.Equal(new ObjectKey("pods", "a", "x"), obj.Key);
        Assert.Equal(42, obj.Revision);
        Assert.Equal("u-1", obj.Uid);
        Assert.Equal("o-2", obj.ControllerUid);
        Assert.True(obj.IsDeleting);
        Assert.Equal([new("app", "wéb"), new("tier", "A"), new("empty", "")], obj.Labels);
        Assert.Equal("n1", obj.Field("spec.nodeName"));
        Assert.Equal("Running", obj.Field("status.phase"));
        Assert.Equal("x", obj.Field("metadata.name"));
        Assert.Equal("a", obj.Field("metadata.namespace"));
        Assert.Null(obj.Field("spec.unknown"));
    }

    [Theory]
    [InlineData("""{"source":{"component":"first"},"reportingComponent":"second"}""", "first")]
    [InlineData("""{"reportingComponent":"second","source":{"component":"first"}}""", "first")]
    [InlineData("""{"reportingComponent":"second","source":{"component":""}}""", "second")]
    [InlineData("""{"reportingComponent":"second","source":null}""", "second")]
    [InlineData("""{"source":["component"],"reportingComponent":true}""", "true")]
    [InlineData("""{"source":{"component":7}}""", "7")]
    [InlineData("""{}""", "")]
    public void Read_FieldWithSeveralPaths_TakesTheFirstThatIsNotEmpty(string rest, string expected)
    {
        var json = (JsonObject)JsonNode.Parse(rest)!;
        json["kind"] = "Event";
        json["apiVersion"] = "v1";
        json["metadata"] = new JsonObject { ["name"] = "x" };
        Assert.Equal(expected, _reader.Read("x", 1, CanonicalJson.Serialize(json), null).Field("source"));
    }

    [Fact]
    public void Read_SplicesTheRevision_AndTheItemIsTheSameWithoutItsHead()
    {
        var obj = _reader.Read("a/x", 42, Bytes(Full), null);
        var whole = CanonicalJson.Parse(obj.Bytes.Span);
        Assert.Equal("42", (string?)whole["metadata"]!["resourceVersion"]);
        var item = CanonicalJson.Parse(Encoding.UTF8.GetBytes("{" + Encoding.UTF8.GetString(obj.ItemBytes.Span)));
        Assert.False(item.ContainsKey("kind"));
        whole.Remove("kind");
        whole.Remove("apiVersion");
        Assert.Equal(whole.ToJsonString(), item.ToJsonString());
    }

    [Fact]
    public void Read_NewVersion_SharesStringsWithTheOld()
    {
        var old = _reader.Read("a/x", 1, Bytes(Full), null);
        var fresh = _reader.Read("a/x", 2, Bytes(Full), old);
        Assert.Same(old.Uid, fresh.Uid);
        Assert.Same(old.ControllerUid, fresh.ControllerUid);
        Assert.Same(old.Key.Name, fresh.Key.Name);
        Assert.Same(old.LabelArray, fresh.LabelArray);
        Assert.Equal(2, fresh.Revision);

        var changed = _reader.Read("a/x", 3, Bytes(Full.Replace("\"u-1\"", "\"u-2\"", StringComparison.Ordinal)), fresh);
        Assert.Equal("u-2", changed.Uid);
    }

    [Fact]
    public void Read_BareObject_HasEmptyHeader()
    {
        var obj = _reader.Read("n", 1, """{"kind":"Node","apiVersion":"v1","metadata":{}}"""u8.ToArray(), null);
        Assert.Equal(("", null, false), (obj.Uid, obj.ControllerUid, obj.IsDeleting));
        Assert.Empty(obj.Labels);
        Assert.Equal("", obj.Field("status.phase"));
        Assert.Equal("""{"kind":"Node","apiVersion":"v1","metadata":{"resourceVersion":"1"}}""", Encoding.UTF8.GetString(obj.Bytes.Span));
    }

    [Fact]
    public void Same_texts_are_the_same_string()
    {
        var a = _reader.Read("ns/x", 1, Bytes(Full), null);
        var b = _reader.Read("ns/y", 2, Bytes(Full), null);
        Assert.Same(a.Key.Namespace, b.Key.Namespace);
        Assert.Same(a.Labels[0].Value, b.Labels[0].Value);
        Assert.Same(a.Field("spec.nodeName"), b.Field("spec.nodeName"));
    }
}
