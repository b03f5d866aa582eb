using System.Buffers;
using System.Runtime.InteropServices;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.ApiServer;

/// <summary>
/// Writes the two shapes that are made from objects: Tables (`kubectl get`) and partial metadata (metadata informers). Wire contract, section 8.
/// </summary>
internal sealed class MetaShapes(TimeProvider time)
{
    private static readonly JsonWriterOptions WriterOptions = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    /// <summary>Writes one object in a shape.</summary>
    /// <param name="output">Where to.</param>
    /// <param name="format">Table or metadata.</param>
    /// <param name="definition">The object's resource.</param>
    /// <param name="columns">Columns of the Table: the resource's, or a subresource's.</param>
    /// <param name="obj">The object's bytes, resourceVersion included.</param>
    /// <param name="includeObject">What a row carries of its object.</param>
    /// <param name="withColumns">False leaves the column definitions out (later events of a watch).</param>
    public void WriteOne(
        IBufferWriter<byte> output, ResponseFormat format, ResourceDefinition definition, ITableSource columns, ReadOnlyMemory<byte> obj,
        string includeObject, bool withColumns = true)
    {
        using var document = JsonDocument.Parse(obj);
        if (format.Shape == BodyShape.Metadata)
        {
            WritePartialMetadata(output, format.MetaApiVersion, document.RootElement);
            return;
        }
        var metadata = document.RootElement.GetProperty("metadata");
        WriteTableHead(output, format, columns, Text(metadata, "resourceVersion"), "", null, withColumns);
        WriteRow(output, format, definition, columns, document.RootElement, obj, includeObject);
        // No line feed: clients split a watch into lines.
        output.Write("]}"u8);
    }

    /// <summary>Starts a Table, up to the opening bracket of its rows; the caller closes with `]}`.</summary>
    public static void WriteTableHead(
        IBufferWriter<byte> output, ResponseFormat format, ITableSource columns, string resourceVersion, string continueToken, long? remaining, bool withColumns)
    {
        using (var writer = new Utf8JsonWriter(output, WriterOptions))
        {
            writer.WriteStartObject();
            writer.WriteString("kind"u8, "Table"u8);
            writer.WriteString("apiVersion"u8, format.MetaApiVersion);
            WriteListMetadata(writer, resourceVersion, continueToken, remaining);
            writer.WritePropertyName("columnDefinitions"u8);
            if (withColumns)
            {
                writer.WriteStartArray();
                foreach (var column in columns.Columns)
                {
                    writer.WriteStartObject();
                    writer.WriteString("name"u8, column.Name);
                    writer.WriteString("type"u8, column.Type);
                    writer.WriteString("format"u8, column.Format);
                    writer.WriteString("description"u8, column.Name);
                    writer.WriteNumber("priority"u8, column.Priority);
                    writer.WriteEndObject();
                }
                writer.WriteEndArray();
            }
            else
            {
                writer.WriteNullValue();
            }

            writer.WriteStartArray("rows"u8);
            writer.Flush();
        }
    }

    /// <summary>Writes one row.</summary>
    public void WriteRow(
        IBufferWriter<byte> output, ResponseFormat format, ResourceDefinition definition, ITableSource columns, JsonElement obj,
        ReadOnlyMemory<byte> bytes, string includeObject)
    {
        var row = new TableRow();
        columns.WriteRow(obj, time.GetUtcNow(), row);
        using (var writer = new Utf8JsonWriter(output, WriterOptions))
        {
            writer.WriteStartObject();
            writer.WritePropertyName("cells"u8);
            row.Cells.WriteTo(writer);
            if (row.Conditions is { } conditions)
            {
                writer.WritePropertyName("conditions"u8);
                conditions.WriteTo(writer);
            }
            writer.WritePropertyName("object"u8);
            switch (includeObject)
            {
                case "None":
                    writer.WriteNullValue();
                    break;
                case "Object":
                    writer.WriteRawValue(bytes.Span, skipInputValidation: true);
                    break;
                default:
                    WritePartialMetadata(writer, format.MetaApiVersion, obj);
                    break;
            }
            writer.WriteEndObject();
        }
    }

    /// <summary>Starts a list, up to the opening bracket of its items; the caller closes with `]}`.</summary>
    public static void WriteListHead(
        IBufferWriter<byte> output, string kind, string apiVersion, string resourceVersion, string continueToken, long? remaining)
    {
        using (var writer = new Utf8JsonWriter(output, WriterOptions))
        {
            writer.WriteStartObject();
            writer.WriteString("kind"u8, kind);
            writer.WriteString("apiVersion"u8, apiVersion);
            WriteListMetadata(writer, resourceVersion, continueToken, remaining);
            writer.WriteStartArray("items"u8);
            writer.Flush();
        }
    }

    /// <summary>Writes an object's metadata as a PartialObjectMetadata.</summary>
    public static void WritePartialMetadata(IBufferWriter<byte> output, string apiVersion, JsonElement obj)
    {
        using var writer = new Utf8JsonWriter(output, WriterOptions);
        WritePartialMetadata(writer, apiVersion, obj);
    }

    private static void WritePartialMetadata(Utf8JsonWriter writer, string apiVersion, JsonElement obj)
    {
        writer.WriteStartObject();
        writer.WriteString("kind"u8, "PartialObjectMetadata"u8);
        writer.WriteString("apiVersion"u8, apiVersion);
        writer.WritePropertyName("metadata"u8);
        writer.WriteRawValue(JsonMarshal.GetRawUtf8Value(obj.GetProperty("metadata")), skipInputValidation: true);
        writer.WriteEndObject();
    }

    private static void WriteListMetadata(Utf8JsonWriter writer, string resourceVersion, string continueToken, long? remaining)
    {
        writer.WriteStartObject("metadata"u8);
        if (resourceVersion.Length > 0)
            writer.WriteString("resourceVersion"u8, resourceVersion);
        if (continueToken.Length > 0)
            writer.WriteString("continue"u8, continueToken);
        if (remaining is { } count)
            writer.WriteNumber("remainingItemCount"u8, count);
        writer.WriteEndObject();
    }

    private static string Text(JsonElement obj, string member) => obj.TryGetProperty(member, out var value) ? value.GetString() ?? "" : "";
}

/// <summary>Columns and cells of a Table.</summary>
internal interface ITableSource
{
    /// <summary>The columns, wide ones included.</summary>
    IReadOnlyList<TableColumn> Columns { get; }

    /// <summary>Writes the cells of one object.</summary>
    void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row);
}

/// <summary>The Table of a resource: its definition's columns and its strategy's cells.</summary>
internal sealed class ResourceTable(ResourceDefinition definition) : ITableSource
{
    /// <inheritdoc/>
    public IReadOnlyList<TableColumn> Columns => definition.Columns;

    /// <inheritdoc/>
    public void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row) => definition.Strategy.WriteRow(obj, now, row);
}

/// <summary>The Table of a Scale (`kubectl get --subresource=scale`).</summary>
internal sealed class ScaleTable : ITableSource
{
    /// <summary>The one instance; it holds nothing.</summary>
    public static ScaleTable Instance { get; } = new();

    /// <inheritdoc/>
    public IReadOnlyList<TableColumn> Columns { get; } =
        [new("Name", Format: "name"), new("Desired", "integer"), new("Available", "integer"), new("Age")];

    /// <inheritdoc/>
    public void WriteRow(JsonElement obj, DateTimeOffset now, TableRow row)
    {
        var node = (JsonObject)JsonNode.Parse(JsonMarshal.GetRawUtf8Value(obj))!;
        row.Add((string?)node["metadata"]?["name"]);
        row.Add((long?)node["spec"]?["replicas"] ?? 0);
        row.Add((long?)node["status"]?["replicas"] ?? 0);
        row.Add(HumanDuration.Age((string?)node["metadata"]?["creationTimestamp"], now));
    }
}
