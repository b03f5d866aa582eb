using System.Text;
using System.Text.Json.Nodes;
using CsCheck;

namespace OrleansCluster.Api.Tests.Patching;

/// <summary>Laws that hold for any documents and patches.</summary>
public sealed class PatchProperties
{
    private static readonly TypeSchema Pod = SchemaCatalog.Find("", "v1", "Pod")!;

    private static readonly string[] Names = ["a", "b", "c", "spec", "containers", "name", "metadata", "labels", "finalizers"];

    private static readonly Gen<string> Name = Gen.Int[0, 8].Select(static n => Names[n]);

    /// <summary>JSON text of a small value; objects have distinct member names and no nulls inside.</summary>
    private static readonly Gen<string> Value = Gen.Recursive<string>((depth, value) => depth > 3
        ? Gen.Int[0, 3].Select(static n => $"{n}")
        : Gen.Frequency(
            (3, Gen.Int[0, 3].Select(static n => $"{n}")),
            (2, Name.Select(static s => $"\"{s}\"")),
            (1, Gen.Bool.Select(static b => b ? "true" : "false")),
            (2, value.Array[0, 3].Select(static items => "[" + string.Join(',', items) + "]")),
            (4, Gen.Select(Name, value).Array[0, 4].Select(ObjectText))));

    private static readonly Gen<string> Object = Gen.Select(Name, Value).Array[0, 4].Select(ObjectText);

    [Fact]
    public void MergePatch_Twice_IsTheSameAsOnce() =>
        Gen.Select(Object, Object).Sample((original, patch) =>
        {
            var once = JsonMergePatch.Apply(Parse(original), Parse(patch));
            return JsonNode.DeepEquals(once, JsonMergePatch.Apply(once, Parse(patch)));
        });

    [Fact]
    public void MergePatch_OfADifference_GivesTheOther() =>
        Gen.Select(Object, Object).Sample((from, to) =>
            JsonNode.DeepEquals(Parse(to), JsonMergePatch.Apply(Parse(from), Difference(Parse(from), Parse(to)))));

    [Fact]
    public void MergePatch_NeverChangesItsArguments() =>
        Gen.Select(Object, Object).Sample((original, patch) =>
        {
            var (a, b) = (Parse(original), Parse(patch));
            JsonMergePatch.Apply(a, b);
            return a.ToJsonString() == Parse(original).ToJsonString() && b.ToJsonString() == Parse(patch).ToJsonString();
        });

    [Fact]
    public void StrategicMergePatch_OfAnything_EndsInAResultAndIsIdempotent() =>
        Gen.Select(Object, Object).Sample((original, patch) =>
        {
            var once = StrategicMergePatch.Apply(Parse(original), Encoding.UTF8.GetBytes(patch), Pod);
            if (!once.Succeeded)
                return once.Error.Code == 400;
            var twice = StrategicMergePatch.Apply(once.Object, Encoding.UTF8.GetBytes(patch), Pod);
            return twice.Succeeded && JsonNode.DeepEquals(once.Object, twice.Object);
        });

    [Fact]
    public void JsonPatch_AddThenRemove_RestoresTheDocument() =>
        Gen.Select(Object, Value).Sample((original, value) =>
        {
            var patch = $$"""[{"op":"add","path":"/zz","value":{{value}}},{"op":"test","path":"/zz","value":{{value}}},{"op":"copy","from":"/zz","path":"/yy"},{"op":"remove","path":"/zz"},{"op":"move","from":"/yy","path":"/xx"},{"op":"remove","path":"/xx"}]""";
            var result = JsonPatch.Apply(Parse(original), Encoding.UTF8.GetBytes(patch));
            return result.Succeeded && JsonNode.DeepEquals(Parse(original), result.Object);
        });

    [Fact]
    public void Patches_OfRandomBytes_NeverThrow() =>
        Gen.Byte.Array[0, 60].Sample(bytes =>
        {
            var original = new JsonObject { ["metadata"] = new JsonObject { ["name"] = "a" } };
            JsonPatch.Apply(original, bytes);
            JsonMergePatch.Apply(original, bytes);
            StrategicMergePatch.Apply(original, bytes, Pod);
        });

    private static string ObjectText((string Name, string Value)[] members) =>
        "{" + string.Join(',', members.DistinctBy(static m => m.Name).Select(static m => $"\"{m.Name}\":{m.Value}")) + "}";

    private static JsonObject Parse(string json) => (JsonObject)JsonNode.Parse(json)!;

    private static JsonObject Difference(JsonObject from, JsonObject to)
    {
        var patch = new JsonObject();
        foreach (var (name, _) in from)
        {
            if (!to.ContainsKey(name))
                patch[name] = null;
        }
        foreach (var (name, value) in to)
        {
            if (from[name] is JsonObject a && value is JsonObject b)
                patch[name] = Difference(a, b);
            else if (!JsonNode.DeepEquals(from[name], value))
                patch[name] = value!.DeepClone();
        }
        return patch;
    }
}
